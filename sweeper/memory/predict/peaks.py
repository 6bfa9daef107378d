"""The peaks of a config: its trace in the order of a run, replayed through the allocator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.allocator import CachingAllocator, Replay, Replayer
from sweeper.memory.predict.architecture import find_architecture
from sweeper.memory.predict.bound import LEVEL, upper
from sweeper.memory.predict.cache import load_trace
from sweeper.memory.predict.calibration import FITTED, Calibration
from sweeper.memory.predict.expandable import ExpandableAllocator
from sweeper.memory.predict.optimizers import find_optimizer
from sweeper.memory.predict.polynomials import StepTrace
from sweeper.memory.predict.programs import Program, Workload, whole_run
from sweeper.memory.predict.values import check_amount, check_whole
from sweeper.numbers import GIB


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

    @property
    def needed_gib(self) -> float:
        """What both reserve at least, with nothing cached in between that could be given back."""
        return max(self.training.reserved_gib, self.validation.reserved_gib)

    def upper_gib(
        self,
        limit_gib: float,
        context_gib: float,
        boxes_per_image: float | None,
        level: float = LEVEL,
    ) -> float:
        """What the peak on a card of a size stays below, the context included.

        What is only cached never takes more than there is: the allocator gives it back first.

        Args:
            limit_gib: The card's size, or the budget.
            context_gib: Of it, for the CUDA context.
            boxes_per_image: What is known of the data set; None: nothing.
            level: The probability.
        """
        top_gib = self.top(limit_gib, context_gib).reserved_gib
        needs, takes = (upper(gib, boxes_per_image, level) for gib in (self.needed_gib, top_gib))
        return max(needs + context_gib, min(takes + context_gib, limit_gib))


def predict_peaks(config: MemoryConfig, cache_dir: Path) -> Peaks:
    """Predict the peaks of a training.

    Raises:
        ValueError: A value out of range, an unknown model or optimizer.
    """
    for key in ("batch", "imgsz", "nc", "images"):
        check_whole(key, getattr(config, key))
    check_amount("boxes_per_image", config.boxes_per_image)
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
    train, val = program.phases
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


def _peak(
    program: Program, result: Replay, calibration: Calibration, cached_gib: float = 0.0
) -> Peak:
    """The peak with cuDNN's workspace, which is at least what training has left in the cache."""
    parts = program.live(result.peak_event)
    cudnn = max(calibration.workspace(parts["activations"]), cached_gib)
    cache = result.reserved / GIB - sum(parts.values())
    return Peak(
        reserved_gib=result.reserved / GIB + cudnn,
        allocated_gib=result.allocated / GIB + cudnn,
        parts={**parts, "workspace": parts["workspace"] + cudnn, "cache": cache},
    )
