"""Peak memory of a trial without a device: a traced step, replayed."""
