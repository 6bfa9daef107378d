"""What is read of a trial while it runs: plain, JSON-able records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

CURVE_DIGITS = 4  # the curve of a few hundred epochs fits into a tag of MLflow


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch as the child reports it; ``epoch`` counts from 1, ``time`` is Unix seconds.

    ``epoch_s`` is what Ultralytics' own clock says of it, validation included, ``batch_s`` the
    median time of a micro-batch, the first one left out; None where an older version did not keep
    them.
    """

    epoch: int
    time: float
    map50: float
    map50_95: float
    train_loss: float
    val_loss: float
    train_time_s: float
    learning_rate: float
    epoch_s: float | None = None
    batch_s: float | None = None


@dataclass(frozen=True, slots=True)
class SystemSample:
    """The machine as a whole while a trial ran on it, other programs included.

    Attributes:
        step: Counts the samples of the trial from 0.
        time: Unix seconds.
        values: By MLflow's names, in its units.
    """

    step: int
    time: float
    values: dict[str, float]


# Where a peak comes from: a physical GPU; torch's allocator on an emulated card; a prediction.
MEASURED, EMULATED, SIMULATED = "measured", "emulated", "simulated"


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Peak device memory of one trial, GiB, and where each number comes from; None is not known.

    Attributes:
        peak_gib: What the budget is compared with.
        source: ``measured`` (GPU), ``emulated`` (an emulated card) or ``simulated`` (no GPU).
        method: Where the peak came from: ``process`` (NVML), ``allocator`` (reserved + context),
            or ``trace`` (simulated).
        allocated_gib: Peak of the allocator's live blocks.
        reserved_gib: Peak of the allocator's segments.
        train_reserved_gib: The same before anything was validated: later on, training also holds
            what validation has left cached.
        val_reserved_gib: The same while validating, what training has left cached included.
        context_gib: CUDA context and whatever else lies outside the allocator.
        alloc_retries: Cache flushes after a failed request; above 0 memory was at its edge.
        alloc_conf: How PYTORCH_ALLOC_CONF has configured torch's allocator; empty is its default.
        nvml_peak_gib: Peak that NVML saw of the trial; where it hides processes, of the device.
        parts: The peak broken down, GiB by part.
        note: What a reader must know to trust the number.
        peak_upper_gib: What a simulated peak stays below with a probability of 95 %.
    """

    peak_gib: float
    source: str
    method: str
    allocated_gib: float | None = None
    reserved_gib: float | None = None
    train_reserved_gib: float | None = None
    val_reserved_gib: float | None = None
    context_gib: float | None = None
    alloc_retries: int | None = None
    alloc_conf: str = ""
    nvml_peak_gib: float | None = None
    parts: dict[str, float] = field(default_factory=dict)
    note: str = ""
    peak_upper_gib: float | None = None


@dataclass(frozen=True, slots=True)
class SampledPeak:
    """What NVML saw of a trial.

    Attributes:
        peak_gib: Highest reading, GiB; None when there was no reading.
        method: ``process`` (NVML's figure for the pid and its descendants) or ``device`` (device
            use minus the level before start, so other processes' growth counts too).
        samples: Number of readings.
        longest_gap_s: Longest time without a reading, seconds; shorter peaks may be missed.
        exceeded: Whether the processes' own use passed the limit.
        error: First NVML error, empty when there was none; the peak holds up to there.
    """

    peak_gib: float | None
    method: str | None
    samples: int
    longest_gap_s: float
    exceeded: bool
    error: str


def steady(seconds: Sequence[float]) -> float | None:
    """The median of what each epoch took, without the first one, which also warms up."""
    later = seconds[1:] or seconds
    return statistics.median(later) if later else None
