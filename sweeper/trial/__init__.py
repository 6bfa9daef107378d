"""What one trial is told, what comes back, and where its files lie."""
