"""Peak memory of a trial on a real device: NVML and torch's allocator."""
