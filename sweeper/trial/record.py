"""What a trial is told, what is seen of it and what it comes to: plain, JSON-able records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sweeper.str_enum import StrEnum
from sweeper.trial.alloc_conf import is_expandable
from sweeper.trial.levers import in_words, pulled

CURVE_DIGITS = 4  # the curve of a few hundred epochs fits into a tag of MLflow
SINGLE = "single"  # in place of a study's name, for trials that are run one at a time


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


# Values of amp, in their order: off, fp16 (on a CPU bfloat16) and bf16; what tables call them, and
# what a label adds.
Amp = bool | Literal["bf16"]
AMPS: tuple[Amp, ...] = (False, True, "bf16")
AMP_WORDS: dict[Amp, str] = {False: "off", True: "on", "bf16": "bf16"}
AMP_SUFFIX: dict[Amp, str] = {False: "", True: " amp", "bf16": " bf16"}


def cell_label(batch: int, accumulate: int, amp: Amp, levers: str = "") -> str:
    """The name of a memory strategy as people say it: ``b4×a4 amp checkpoint=all``."""
    return f"b{batch}×a{accumulate}{AMP_SUFFIX[amp]}" + (f" {levers}" if levers else "")


_AMP_TYPED: dict[str, Amp] = {"fp16": True, "on": True, "yes": True, "off": False, "no": False}


def read_amp(value: object) -> Amp:
    """The amp that was typed; ``fp16`` is another word for ``true``.

    Raises:
        ValueError: It is none.
    """
    value = _AMP_TYPED.get(str(value).lower(), value)
    if value not in AMPS:
        raise ValueError(f"amp must be false, true, fp16 or bf16 but got {value}. Try amp=true.")
    return AMPS[AMPS.index(value)]  # 1 is True


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What tells a data set from others.

    Attributes:
        digest: Of its classes, the names and sizes of its images, and its labels.
        images: Images of the training split.
        boxes: Boxes in them.
        val_images: Images of the validation split.
        unlabelled: Images of both without a label file, which train and count as background.
    """

    digest: str
    images: int
    boxes: int
    val_images: int = 0
    unlabelled: int = 0


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """Everything a child process needs to train one cell.

    Attributes:
        study: Study name.
        number: Optuna trial number within the study.
        strategy: Name of the memory strategy, or the cell's label.
        batch: Images per forward/backward.
        accumulate: Micro-batches per optimizer step.
        amp: The autocast that is asked for: none, fp16 (True) or bf16.
        model: Model name for people, e.g. ``yolo11n``.
        model_file: What Ultralytics loads: a ``.yaml`` or ``.pt`` file or name.
        data: Dataset name for people.
        data_yaml: Path of the dataset's YAML.
        nc: Number of classes.
        boxes_per_image: Mean number of objects per training image, after mosaic.
        imgsz: Image side, pixels.
        epochs: Epochs of the whole run, whose schedule holds for every part of it.
        optimizer: Pinned optimizer name.
        seed: Seed of weights and data order.
        threads: CPU threads of the child.
        timeout_s: Wall-clock limit, seconds; 0 means none.
        stall_timeout_s: Longest silence of the child, seconds; 0 means any.
        limit_gib: The study's budget: the limit on peak device memory, GiB.
        context_gib: What the CUDA context is taken to be within the limit, GiB.
        predicted: Peak to expect; where there is no GPU it stands for the measurement.
        keep_weights: Keep ``best.pt`` and ``last.pt``.
        train_args: Further Ultralytics arguments by name.
        until: The epoch that this part of the run ends with; None is the last one.
        trained: Epochs of earlier parts, after which this one goes on from their checkpoint.
        spent_s: Wall time of earlier parts, seconds.
        held: What earlier parts took of the device's memory; None where there are none.
        overrides: The Hydra overrides that make this cell.
        confirms: Number of the trial that this one repeats with another seed.
        images: Images that the whole run draws; None in records from before it was counted.
        fullest_image: Boxes of the fullest of them; None as well.
        alloc_conf: What torch's allocator is told, as PYTORCH_ALLOC_CONF says it.
        runs_on: What all trials of the study run on: ``cpu`` or a GPU's name; empty in records
            from before it was pinned.
        checkpoint: Layers whose activations the backward computes again: ``none``, ``backbone`` or
            ``all``.
        val_batch: Largest number of images that are validated at once; None: twice the batch.
        freeze: Layers, from the first on, that are not trained.
        dataset: What tells the data set from others; None in records from before it was kept.
    """

    study: str
    number: int
    strategy: str
    batch: int
    accumulate: int
    amp: Amp
    model: str
    model_file: str
    data: str
    data_yaml: str
    nc: int
    boxes_per_image: float
    imgsz: int
    epochs: int
    optimizer: str
    seed: int
    limit_gib: float
    threads: int = 1
    timeout_s: float = 0.0
    stall_timeout_s: float = 0.0
    context_gib: float = 0.0
    predicted: MemoryReading | None = None
    keep_weights: bool = False
    train_args: dict[str, Any] = field(default_factory=dict)
    until: int | None = None
    trained: int = 0
    spent_s: float = 0.0
    held: MemoryReading | None = None
    overrides: tuple[str, ...] = ()
    confirms: int | None = None
    images: int | None = None
    fullest_image: int | None = None
    alloc_conf: str = ""
    checkpoint: str = "none"
    val_batch: int | None = None
    freeze: int = 0
    runs_on: str = ""
    dataset: DatasetFacts | None = None

    @property
    def effective_batch(self) -> int:
        """Images per optimizer step."""
        return self.batch * self.accumulate

    @property
    def label(self) -> str:
        """The cell as people say it."""
        return cell_label(self.batch, self.accumulate, self.amp, in_words(pulled(self)))

    @property
    def allocator(self) -> str:
        """The allocator as ``memory.allocator`` names it."""
        return "expandable" if is_expandable(self.alloc_conf) else "default"

    def going_on(self, result: TrialResult, until: int | None) -> TrialSpec:
        """The spec of the part that follows what the trial has come to so far."""
        return replace(
            self,
            until=until,
            trained=result.trained,
            spent_s=result.wall_time_s,
            held=result.memory,
        )

    def from_the_start(self) -> TrialSpec:
        """The spec of the same training without its earlier parts."""
        return replace(self, until=None, trained=0, spent_s=0.0, held=None)


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
        train_time_s: Training loop with its validations, of the last part, seconds.
        images_per_s: As of `ChildFacts`.
        iterations: Micro-batches trained.
        optimizer_steps: Optimizer steps that really happened.
        amp_dtype: Dtype that autocast really used, or ``float32``.
        memory: Peak device memory, None before it is known.
        peak_rss_gib: Peak resident memory of the child, GiB.
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
    settings: dict[str, Any] = field(default_factory=dict)
    implied_by: int | None = None
    device: str = ""
    host: str = ""
    class_map50: dict[str, float] = field(default_factory=dict)


def steady(seconds: Sequence[float]) -> float | None:
    """The median of what each epoch took, without the first one, which also warms up."""
    later = seconds[1:] or seconds
    return statistics.median(later) if later else None


def summarise_epochs(epochs: tuple[EpochReport, ...]) -> dict[str, Any]:
    """The result fields that follow from the epoch reports."""
    if not epochs:
        return {}
    best = max(epochs, key=lambda e: e.map50_95)
    return {
        "epochs": epochs,
        "trained": len(epochs),
        "curve": tuple(round(e.map50, CURVE_DIGITS) for e in epochs),
        "epoch_s": steady([e.epoch_s for e in epochs if e.epoch_s is not None]),
        "map50": best.map50,
        "map50_95": best.map50_95,
        "best_epoch": best.epoch,
    }
