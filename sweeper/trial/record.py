"""What is seen of a trial in the end and what it comes to: plain, JSON-able records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeper.str_enum import StrEnum
from sweeper.trial.readings import CURVE_DIGITS, EpochReport, MemoryReading, SampledPeak, steady

FINGERPRINT = "data_fingerprint"  # among the settings: of the data set as it was loaded


class Ending(StrEnum):
    """How a training ended, as its own process saw it."""

    COMPLETE = "complete"
    STOPPED = "stopped"  # the study asked it to
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    AMP_REFUSED = "amp_refused"
    TOO_SHORT = "too_short"
    ERROR = "error"


class EndedBy(StrEnum):
    """Why a training was ended from outside."""

    STUDY = "study"
    TIMEOUT = "timeout"
    STALL = "stall"
    HOST = "host"  # its job was taken away, or its machine went


class Outcome(StrEnum):
    """What a trial comes to; the value is what Optuna, MLflow and the report show."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    OUT_OF_MEMORY = "out_of_memory"
    OVER_BUDGET = "over_budget"
    IMPLIED = "implied"
    COVERED = "covered"
    DIVERGED = "diverged"
    AMP_REFUSED = "amp_refused"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"
    DISTURBED = "disturbed"  # by other processes on its GPU

    @property
    def ran(self) -> bool:
        """Whether there was a trial, and not only the evidence of another one."""
        return self not in {Outcome.IMPLIED, Outcome.COVERED}

    @property
    def runs_again(self) -> bool:
        """Whether the cell runs again at the next start: the outcome says nothing about it."""
        return self in {Outcome.CRASHED, Outcome.INTERRUPTED, Outcome.DISTURBED}

    @property
    def infeasible(self) -> bool:
        """Whether the outcome says that the cell does not fit the budget."""
        return self in {Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET, Outcome.IMPLIED}


@dataclass(frozen=True, slots=True)
class ChildFacts:
    """What a training saw of itself; it judges nothing.

    Attributes:
        ending: How it ended.
        message: What went wrong, in one line; empty when nothing did.
        shortfall: Why running out of memory says nothing about the budget; empty when it does.
        paused: Whether it ended as its part did, before the whole run.
        epochs: One report per finished epoch, those of earlier parts included.
        train_time_s: Training loop with its validations, of this part, seconds.
        images_per_s: Training images per second in the median epoch, the first one left out and
            validation excluded.
        iterations: Micro-batches trained.
        optimizer_steps: Optimizer steps that really happened.
        amp_dtype: Dtype that autocast really used, or ``float32``.
        memory: What the allocator held at most; without a GPU the prediction.
        peak_rss_gib: Peak resident memory of the process, GiB.
        cpu_wait: Share of its time in which its main thread could have run and waited for a core,
            0 to 1; None where the kernel does not count it.
        settings: Effective settings and versions.
        class_map50: mAP@0.5 of each class that was validated, by name, in the epoch with the
            highest mAP@0.5:0.95; empty in records of before it was kept.
    """

    ending: Ending
    message: str = ""
    shortfall: str = ""
    paused: bool = False
    epochs: tuple[EpochReport, ...] = ()
    train_time_s: float | None = None
    images_per_s: float | None = None
    iterations: int = 0
    optimizer_steps: int = 0
    amp_dtype: str | None = None
    memory: MemoryReading | None = None
    peak_rss_gib: float | None = None
    cpu_wait: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    class_map50: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """All that was seen of a trial, from inside and outside, before anybody judges it.

    Attributes:
        child: What the training wrote; None when it ended before it could.
        epochs: What was heard from it while it ran; for a training that died.
        sampled: What NVML saw; None on the CPU.
        exit_code: Of its process, negative for a signal; None where there was none.
        ended_by: Why it was ended from outside, if it was.
        no_start: Why no process could be started; empty when one was.
        refused: Why it must not run on the machine where it was to; empty when it may.
        wall_time_s: Process start to end, seconds.
        device: ``cpu``, or the UUID of its GPU.
        device_name: ``cpu``, or the name of that GPU; empty where it is not known.
        host: Name of the machine; empty where it is the study's own.
    """

    child: ChildFacts | None = None
    epochs: tuple[EpochReport, ...] = ()
    sampled: SampledPeak | None = None
    exit_code: int | None = None
    ended_by: EndedBy | None = None
    no_start: str = ""
    refused: str = ""
    wall_time_s: float = 0.0
    device: str = "cpu"
    device_name: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What a trial came to, complete or not.

    ``map50`` and ``map50_95`` are those of ``best_epoch``, the epoch with the highest
    mAP@0.5:0.95, which is also the epoch whose weights Ultralytics keeps as ``best.pt``.

    Attributes:
        outcome: How it ended.
        reason: One sentence a person can act on; empty when complete.
        paused: Whether the run can go on after its last epoch here.
        excess_gib: Peak less the limit, GiB: above 0 exactly when the cell does not fit; None
            where it is not known.
        epochs: One report per finished epoch.
        trained: How many epochs have finished.
        curve: mAP@0.5 after each of them, to four digits.
        epoch_s: Median time of an epoch with its validation, the first one left out, seconds.
        map50: mAP at IoU 0.5, 0 to 1.
        map50_95: mAP averaged over IoU 0.5 to 0.95, 0 to 1.
        best_epoch: Epoch of those two, from 1.
        wall_time_s: Whole trial, process start to end, all parts together, seconds.
        train_time_s: Training loop with its validations, all parts together, seconds.
        images_per_s: As of `ChildFacts`.
        iterations: Micro-batches trained.
        optimizer_steps: Optimizer steps that really happened.
        amp_dtype: Dtype that autocast really used, or ``float32``.
        memory: Peak device memory, None before it is known.
        peak_rss_gib: Peak resident memory of the child, GiB.
        cpu_wait: As of `ChildFacts`, of the last part.
        settings: Effective settings and versions.
        device: Name of what it ran on last, ``cpu`` or a GPU's; empty where that is not known.
        host: Name of the machine that it ran on, where that is not the study's own.
        implied_by: Number of the trial whose outcome decides this one without running it.
        class_map50: As of `ChildFacts`.
    """

    outcome: Outcome
    reason: str = ""
    excess_gib: float | None = None
    paused: bool = False
    epochs: tuple[EpochReport, ...] = ()
    trained: int = 0
    curve: tuple[float, ...] = ()
    epoch_s: float | None = None
    map50: float | None = None
    map50_95: float | None = None
    best_epoch: int | None = None
    wall_time_s: float = 0.0
    train_time_s: float | None = None
    images_per_s: float | None = None
    iterations: int = 0
    optimizer_steps: int = 0
    amp_dtype: str | None = None
    memory: MemoryReading | None = None
    peak_rss_gib: float | None = None
    cpu_wait: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    implied_by: int | None = None
    device: str = ""
    host: str = ""
    class_map50: dict[str, float] = field(default_factory=dict)

    @property
    def ending(self) -> str:
        """The outcome, where only a part of the run was to be trained ``part trained``."""
        part = self.paused and self.outcome is Outcome.COMPLETE
        return "part trained" if part else self.outcome.value


def best_of(epochs: Sequence[EpochReport]) -> EpochReport:
    """The epoch whose weights are kept: Ultralytics decides by mAP@0.5:0.95."""
    return max(epochs, key=lambda e: e.map50_95)


def summarise_epochs(epochs: tuple[EpochReport, ...]) -> dict[str, Any]:
    """The result fields that follow from the epoch reports."""
    if not epochs:
        return {}
    best = best_of(epochs)
    return {
        "epochs": epochs,
        "trained": len(epochs),
        "curve": tuple(round(e.map50, CURVE_DIGITS) for e in epochs),
        "epoch_s": steady([e.epoch_s for e in epochs if e.epoch_s is not None]),
        "map50": best.map50,
        "map50_95": best.map50_95,
        "best_epoch": best.epoch,
    }
