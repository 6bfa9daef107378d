"""Predict the peak device memory of a training without a device."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sweeper.memory.config import ASSUMED_BOXES, ASSUMED_IMAGES, MemoryConfig
from sweeper.memory.predict.allocator import CachingAllocator, Replay, Replayer
from sweeper.memory.predict.architecture import find_architecture
from sweeper.memory.predict.bound import LEVEL, upper
from sweeper.memory.predict.cache import DEFAULT_DIR, load_trace
from sweeper.memory.predict.calibration import FITTED, Calibration
from sweeper.memory.predict.expandable import ExpandableAllocator
from sweeper.memory.predict.optimizers import find_optimizer
from sweeper.memory.predict.polynomials import StepTrace
from sweeper.memory.predict.programs import Program, Workload, whole_run
from sweeper.numbers import GIB
from sweeper.trial.levers import ALLOCATORS, CHECKPOINTS
from sweeper.trial.record import Amp, read_amp

# The context of a T4 to A100 with CUDA 12's lazy loading is 0.3 to 0.6 GiB.
CONTEXT_GIB = 0.5
PARTS = (
    "weights",
    "gradients",
    "optimizer",
    "ema",
    "activations",
    "loss",
    "input",
    "workspace",
)
EXAMPLES = {
    "batch": 16,
    "accumulate": 4,
    "imgsz": 640,
    "nc": 80,
    "boxes_per_image": 8,
    "images": ASSUMED_IMAGES,
    "context_gib": CONTEXT_GIB,
    "val_batch": 16,
    "freeze": 10,
}


@dataclass(frozen=True, slots=True)
class VramPrediction:
    """Simulated peak of one configuration, GiB = 2**30 bytes.

    `peak_gib = reserved_gib + context_gib` is what `nvidia-smi` would show and what a budget is
    compared with. `reserved_gib` is the larger of `training_gib` and `validation_gib`; `parts` sum
    to it. With probability `level` a training stays below `reserved_upper_gib` and
    `peak_upper_gib`.
    """

    reserved_gib: float
    allocated_gib: float
    context_gib: float
    peak_gib: float
    training_gib: float
    validation_gib: float
    parts: dict[str, float]
    config: MemoryConfig
    accumulate: int
    reserved_upper_gib: float
    peak_upper_gib: float
    level: float

    @property
    def model(self) -> str:
        """Name of the model."""
        return Path(self.config.model).stem

    @property
    def batch(self) -> int:
        """Images per forward and backward."""
        return self.config.batch

    @property
    def amp(self) -> Amp:
        """The autocast: none, fp16 (True) or bf16."""
        return self.config.amp

    @property
    def imgsz(self) -> int:
        """Pixels, a multiple of the stride."""
        return self.config.imgsz

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        values = asdict(self)
        del values["config"]
        return values | {
            "model": self.model,
            "batch": self.batch,
            "amp": self.amp,
            "imgsz": self.imgsz,
        }


def predict_vram(
    model: str = "yolo11n",
    batch: int = 16,
    accumulate: int = 4,
    amp: Amp | Literal["fp16"] = True,
    imgsz: int = 640,
    nc: int = 80,
    optimizer: str = "AdamW",
    boxes_per_image: float | None = None,
    context_gib: float = CONTEXT_GIB,
    cache_dir: str | Path | None = None,
    limit_gib: float = 0.0,
    images: int = ASSUMED_IMAGES,
    level: float = LEVEL,
    allocator: str = "default",
    checkpoint: str = "none",
    val_batch: int | None = None,
    freeze: int = 0,
) -> VramPrediction:
    """Predict the peak memory of training on one CUDA device.

    Args:
        model: Name ("yolo11n"), file name or path of a detection model.
        batch: Images per forward and backward.
        accumulate: Micro-batches per optimizer step.
        amp: The autocast: False, True (``fp16``) or ``bf16``, which take the same memory.
        imgsz: Pixels; rounded up to a multiple of 32 as Ultralytics does.
        boxes_per_image: Mean number of objects per image in a batch, after mosaic; None: it is not
            known, 8 are assumed, and the bound allows for others.
        context_gib: Memory of the CUDA context, outside torch's allocator.
        cache_dir: Folder of traces, by default runs/cache/vram below the current directory.
        limit_gib: The card's memory or the budget. Where training takes less than half of it,
            validation adds to what training has cached; 0 stands for a card just large enough.
        images: Images that the whole run draws: those of the training set, times the epochs.
        level: Probability of the bound: 0.8, 0.9 or 0.95.
        allocator: ``default``, or ``expandable`` for ``expandable_segments:True``.
        checkpoint: Layers that the backward computes again: ``none``, ``backbone`` or ``all``.
        val_batch: Largest number of images that are validated at once, by default twice the batch.
        freeze: Layers, from the first on, that are not trained.

    Raises:
        ValueError: A value out of range, an unknown model or optimizer.
    """
    _check_whole("accumulate", accumulate)
    _check_amount("context_gib", context_gib)
    _check_amount("freeze", freeze)
    if val_batch is not None:
        _check_whole("val_batch", val_batch)
    _check_one_of("allocator", allocator, ALLOCATORS)
    _check_one_of("checkpoint", checkpoint, CHECKPOINTS)
    upper(0.0, boxes_per_image, level)  # refuses a level before the model is traced
    boxes = ASSUMED_BOXES if boxes_per_image is None else boxes_per_image
    held = accumulate > 1
    config = MemoryConfig(
        str(model),
        nc,
        batch,
        held,
        read_amp(amp),
        imgsz,
        optimizer,
        boxes,
        images,
        expandable=allocator == "expandable",
        checkpoint=checkpoint,
        val_batch=val_batch,
        freeze=freeze,
    )
    peaks = predict_peaks(config, Path(cache_dir or DEFAULT_DIR))
    training, validation = peaks.within(limit_gib, context_gib)
    top = peaks.top(limit_gib, context_gib)
    reserved_upper_gib = upper(top.reserved_gib, boxes_per_image, level)
    return VramPrediction(
        reserved_gib=top.reserved_gib,
        allocated_gib=top.allocated_gib,
        context_gib=context_gib,
        peak_gib=top.reserved_gib + context_gib,
        training_gib=training.reserved_gib,
        validation_gib=validation.reserved_gib,
        parts=top.parts,
        config=peaks.config,
        accumulate=accumulate,
        reserved_upper_gib=reserved_upper_gib,
        peak_upper_gib=reserved_upper_gib + context_gib,
        level=level,
    )


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak of one program; `parts` sum to `reserved_gib`."""

    reserved_gib: float
    allocated_gib: float
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Peaks:
    """Predicted peaks of a config, the CUDA context left out.

    Attributes:
        config: What was predicted, with the image size that Ultralytics trains at.
        training: While training.
        validation: While validating after the cache was emptied.
        validation_on_top: While validating beside what training left in the cache.
    """

    config: MemoryConfig
    training: Peak
    validation: Peak
    validation_on_top: Peak

    def within(self, limit_gib: float, context_gib: float) -> tuple[Peak, Peak]:
        """Training and validation on a card of a size.

        Ultralytics empties the cache before validation where more than half of the card is
        reserved (`_clear_memory`), and the allocator does so before it runs out of memory.
        """
        half_full = self.training.reserved_gib > limit_gib / 2
        runs_out = self.validation_on_top.reserved_gib + context_gib > limit_gib
        emptied = half_full or runs_out
        return self.training, self.validation if emptied else self.validation_on_top

    def top(self, limit_gib: float, context_gib: float) -> Peak:
        """The peak of both on a card of a size, in the parts that are live when it is fullest."""
        phases = self.within(limit_gib, context_gib)
        fullest = max(phases, key=lambda peak: peak.allocated_gib)
        reserved_gib = max(peak.reserved_gib for peak in phases)
        cache = fullest.parts["cache"] + reserved_gib - fullest.reserved_gib
        return Peak(reserved_gib, fullest.allocated_gib, {**fullest.parts, "cache": cache})


def predict_peaks(config: MemoryConfig, cache_dir: Path) -> Peaks:
    """Predict the peaks of a training.

    Raises:
        ValueError: A value out of range, an unknown model or optimizer.
    """
    for key in ("batch", "imgsz", "nc", "images"):
        _check_whole(key, getattr(config, key))
    _check_amount("boxes_per_image", config.boxes_per_image)
    find_optimizer(config.optimizer)  # before the model is traced, which takes seconds
    architecture = find_architecture(config.model)
    levers = config.checkpoint, config.freeze
    trace = load_trace(architecture, config.nc, bool(config.amp), cache_dir, *levers)
    return replay_trace(trace, config, FITTED)


def replay_trace(trace: StepTrace, config: MemoryConfig, calibration: Calibration) -> Peaks:
    """Replay training and validation of a config through the model of the allocator."""
    config = replace(config, imgsz=-(-config.imgsz // trace.stride) * trace.stride)
    boxes: float | None = config.fullest_image
    if boxes is None:
        boxes = calibration.fullest(config.boxes_per_image, config.images)
    optimizer = find_optimizer(config.optimizer)
    load = Workload(config, boxes, optimizer, calibration.pairs, calibration.steps)
    program = whole_run(trace, load)
    train, val = program.events[: program.training], program.events[program.training :]
    replayer = Replayer(ExpandableAllocator() if config.expandable else CachingAllocator())
    trained = replayer.replay(train)
    emptied = replayer.emptied().replay(val)
    training = _peak(program, trained, calibration)
    cached_gib = calibration.workspace(training.parts["activations"])
    return Peaks(
        config,
        training,
        _peak(program, emptied, calibration),
        _peak(program, replayer.replay(val), calibration, cached_gib),
    )


def _check_whole(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{key} must be a whole number, at least 1, but got {value}. "
            f"Try {key}={EXAMPLES[key]}."
        )


def _check_one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{key} must be one of {', '.join(allowed)} but got {value}. Try {key}={allowed[-1]}."
        )


def _check_amount(key: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{key} cannot be negative but got {value}. Try {key}={EXAMPLES[key]}.")


def _peak(
    program: Program, result: Replay, calibration: Calibration, cached_gib: float = 0.0
) -> Peak:
    """The peak with cuDNN's workspace, which is at least what training has left in the cache."""
    parts = _parts(program, result)
    cudnn = max(calibration.workspace(parts["activations"]), cached_gib)
    cache = result.reserved / GIB - sum(parts.values())
    return Peak(
        reserved_gib=result.reserved / GIB + cudnn,
        allocated_gib=result.allocated / GIB + cudnn,
        parts={**parts, "workspace": parts["workspace"] + cudnn, "cache": cache},
    )


def _parts(program: Program, result: Replay) -> dict[str, float]:
    """GiB live at the allocated peak, by part."""
    sizes: dict[int, int] = {}
    for number, nbytes in program.events[: result.peak_event + 1]:
        if number > 0:
            sizes[number] = nbytes
        else:
            del sizes[-number]
    parts = dict.fromkeys(PARTS, 0.0)
    for number, nbytes in sizes.items():
        parts[program.parts[number - 1]] += nbytes / GIB
    return parts
