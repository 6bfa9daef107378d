"""How long this process waited for a core of the processor, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path

BUSY_SHARE = 0.1  # of its time, from which on that says less of a program than of the machine


def waited_s() -> float | None:
    """Seconds that the main thread was ready to run and had no core; None where nobody counts."""
    counted = Path("/proc/self/schedstat")  # ns on a core, ns waiting for one, turns
    return int(counted.read_text().split()[1]) / 1e9 if counted.exists() else None
