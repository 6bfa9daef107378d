"""Predict the peak device memory of a training without a device."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sweeper.memory.config import ASSUMED_BOXES, ASSUMED_IMAGES, MemoryConfig
from sweeper.memory.predict.bound import LEVEL, upper
from sweeper.memory.predict.cache import DEFAULT_DIR
from sweeper.memory.predict.peaks import predict_peaks
from sweeper.memory.predict.values import CONTEXT_GIB, check_amount, check_one_of, check_whole
from sweeper.trial.levers import ALLOCATORS, CHECKPOINTS
from sweeper.trial.spec import Amp, read_amp


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
    check_whole("accumulate", accumulate)
    check_amount("context_gib", context_gib)
    check_amount("freeze", freeze)
    if val_batch is not None:
        check_whole("val_batch", val_batch)
    check_one_of("allocator", allocator, ALLOCATORS)
    check_one_of("checkpoint", checkpoint, CHECKPOINTS)
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
    peak_upper_gib = peaks.upper_gib(limit_gib, context_gib, boxes_per_image, level)
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
        reserved_upper_gib=peak_upper_gib - context_gib,
        peak_upper_gib=peak_upper_gib,
        level=level,
    )
