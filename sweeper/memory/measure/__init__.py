"""Device memory as NVML shows it: of a whole device, and of a trial that runs on it."""
