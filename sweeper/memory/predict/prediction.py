"""Predict the peak device memory of a training run without a device."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeper.memory.predict.allocator import Replay, replay
from sweeper.memory.predict.architecture import find_architecture
from sweeper.memory.predict.cache import DEFAULT_DIR, load_trace
from sweeper.memory.predict.calibration import FITTED, Allowance
from sweeper.memory.predict.optimizers import find_optimizer
from sweeper.memory.predict.polynomials import StepTrace
from sweeper.memory.predict.programs import Timeline, Workload, training, validation
from sweeper.numbers import GIB

# The context of a T4 to A100 with CUDA 12's lazy loading is 0.3 to 0.6 GiB.
CONTEXT_GIB = 0.5
PARTS = ("weights", "gradients", "optimizer", "ema", "activations", "loss", "input")
EXAMPLES = {
    "batch": 16,
    "accumulate": 4,
    "imgsz": 640,
    "nc": 80,
    "boxes_per_image": 8,
    "context_gib": CONTEXT_GIB,
}


@dataclass(frozen=True, slots=True)
class VramPrediction:
    """Simulated peak of one configuration, GiB = 2**30 bytes.

    `peak_gib = reserved_gib + context_gib` is what `nvidia-smi` would show and what a budget is
    compared with. `reserved_gib` is the larger of `training_gib` and `validation_gib`; `parts` sum
    to it.
    """

    reserved_gib: float
    allocated_gib: float
    context_gib: float
    peak_gib: float
    training_gib: float
    validation_gib: float
    parts: dict[str, float]
    model: str
    batch: int
    accumulate: int
    amp: bool
    imgsz: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def predict_vram(
    model: str = "yolo11n",
    batch: int = 16,
    accumulate: int = 4,
    amp: bool = True,
    imgsz: int = 640,
    nc: int = 80,
    optimizer: str = "AdamW",
    boxes_per_image: float = 8,
    context_gib: float = CONTEXT_GIB,
    cache_dir: str | Path | None = None,
) -> VramPrediction:
    """Predict the peak memory of training on one CUDA device.

    Args:
        model: Name ("yolo11n"), file name or path of a detection model.
        batch: Images per forward and backward.
        accumulate: Micro-batches per optimizer step.
        imgsz: Pixels; rounded up to a multiple of 32 as Ultralytics does.
        boxes_per_image: Mean number of objects per image in a batch, after mosaic.
        context_gib: Memory of the CUDA context, outside torch's allocator.
        cache_dir: Folder of traces, by default runs/cache/vram below the current directory.

    Raises:
        ValueError: A value out of range, an unknown model or optimizer.
    """
    whole = {"batch": batch, "accumulate": accumulate, "imgsz": imgsz, "nc": nc}
    for key, value in whole.items():
        _check_whole(key, value)
    _check_amount("boxes_per_image", boxes_per_image)
    _check_amount("context_gib", context_gib)
    if amp not in (True, False, "bf16"):
        raise ValueError(f"amp must be true, false or bf16 but got {amp}. Try amp=true.")
    held = find_optimizer(optimizer)
    architecture = find_architecture(str(model))
    trace = load_trace(architecture, nc, bool(amp), Path(cache_dir or DEFAULT_DIR))
    size = -(-imgsz // trace.stride) * trace.stride
    load = Workload(batch, size, FITTED.fullest(boxes_per_image), accumulate, bool(amp), held)
    train, val = simulate(trace, load, FITTED)
    top = max(train, val, key=lambda peak: peak.reserved_gib)
    return VramPrediction(
        reserved_gib=top.reserved_gib,
        allocated_gib=top.allocated_gib,
        context_gib=context_gib,
        peak_gib=top.reserved_gib + context_gib,
        training_gib=train.reserved_gib,
        validation_gib=val.reserved_gib,
        parts=top.parts,
        model=architecture.name,
        batch=batch,
        accumulate=accumulate,
        amp=bool(amp),
        imgsz=size,
    )


@dataclass(frozen=True, slots=True)
class Peak:
    """Peaks of one program; `parts` sum to `reserved_gib`."""

    reserved_gib: float
    allocated_gib: float
    parts: dict[str, float]


def simulate(trace: StepTrace, load: Workload, allowance: Allowance) -> tuple[Peak, Peak]:
    """Peaks of training and of validation."""
    return _peak(training(trace, load), allowance), _peak(validation(trace, load), allowance)


def _check_whole(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{key} must be a whole number, at least 1, but got {value}. "
            f"Try {key}={EXAMPLES[key]}."
        )


def _check_amount(key: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{key} cannot be negative but got {value}. Try {key}={EXAMPLES[key]}.")


def _peak(line: Timeline, allowance: Allowance) -> Peak:
    result = replay(line.events)
    parts = _parts(line, result)
    workspace = allowance.workspace(parts["activations"])
    cache = result.reserved / GIB - sum(parts.values())
    return Peak(
        reserved_gib=result.reserved / GIB + workspace,
        allocated_gib=result.allocated / GIB + workspace,
        parts={**parts, "workspace": workspace, "cache": cache},
    )


def _parts(line: Timeline, result: Replay) -> dict[str, float]:
    """GiB live at the allocated peak, by part."""
    sizes: dict[int, int] = {}
    for number, nbytes in line.events[: result.peak_event + 1]:
        if number > 0:
            sizes[number] = nbytes
        else:
            del sizes[-number]
    parts = dict.fromkeys(PARTS, 0.0)
    for number, nbytes in sizes.items():
        parts[line.parts[number - 1]] += nbytes / GIB
    return parts
