"""What a trial is made of: data, trainer and the run in the child process."""
