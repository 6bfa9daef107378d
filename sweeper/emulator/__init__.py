"""An emulated card: torch's own CUDA build, unmodified, on cards made of host memory."""
