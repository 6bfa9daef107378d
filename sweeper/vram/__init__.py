"""Device memory: budget, measured peaks, simulated peaks."""
