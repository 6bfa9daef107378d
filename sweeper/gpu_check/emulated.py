"""The same cells on an emulated card of the same size."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from sweeper.emulator.machine import MIB_PER_GIB
from sweeper.gpu_check.cells import Trained, prepare, read
from sweeper.memory.measure.nvml import Device


def train_emulated(folder: Path, measured: Trained, device: Device, capability: str) -> str:
    """Train the cells there, with zeros for numbers; why not in one line, empty if it worked.

    Args:
        folder: Gets the trials.
        measured: What they are, and the context that the device's own took.
        device: The card to imitate.
        capability: Its CUDA compute capability.
    """
    prepare(folder, [spec for spec, _ in measured])
    words = ["-m", "sweeper.emulator", "--card", f"{device.total_gib:g}:{capability}"]
    options = ["--context-mib", str(round(_context_gib(measured) * MIB_PER_GIB))]
    train = [sys.executable, "-m", "sweeper.gpu_check.cells", str(folder)]
    command = [sys.executable, *words, *options, "--compute", "light", *train]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode and not read(folder):
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return ""


def _context_gib(measured: Trained) -> float:
    contexts = [r.memory.context_gib for _, r in measured if r.memory and r.memory.context_gib]
    return statistics.median(contexts) if contexts else 0.3
