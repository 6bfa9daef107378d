"""The budget: the limit on peak device memory."""

from __future__ import annotations

from dataclasses import dataclass

# How far NVML's figure may pass the limit before a trial is stopped while it runs. The cap on
# the allocator holds the rest, so this covers kernels that the context loads after the cap was
# set, pages that NVML counts in full, and drift of the display in the device method. A peak above
# the limit by less is found to be over the budget after the trial.
WATCHDOG_TOLERANCE_GIB = 0.125


@dataclass(frozen=True, slots=True)
class Budget:
    """The limit on peak device memory, GiB.

    Attributes:
        limit_gib: The limit.
        context_gib: Assumed CUDA context; it counts against the limit.
        card: Card it stands for.
        source: How it came about, for the reader of a report.
        message: What to print before work starts; may be empty.
    """

    limit_gib: float
    context_gib: float
    card: str
    source: str
    message: str = ""


def violation(peak_gib: float, limit_gib: float) -> float:
    """Peak minus limit, GiB: feasible when ``<= 0`` (the sign of Optuna's constraints)."""
    return peak_gib - limit_gib


def watchdog_limit_gib(limit_gib: float) -> float:
    """NVML use above which a running trial is stopped, GiB."""
    return limit_gib + WATCHDOG_TOLERANCE_GIB
