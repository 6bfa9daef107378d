"""What a run asks of the allocator: a script with the sizes of one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.optimizers import Optimizer
from sweeper.memory.predict.polynomials import (
    Events,
    StepTrace,
    area,
    count_basis,
    loss_basis,
    model_basis,
)
from sweeper.memory.predict.scripts import write_script
from sweeper.numbers import GIB, MIB

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
# Of the image, covered by one object: decides how many anchors the assigner compares it with.
COVERAGE = 0.05
# Through Ultralytics 8.3 the assigner held the four distances of every anchor to every box, and
# their halves before joining them: bytes a pair (`select_candidates_in_gts`). The published
# readings were taken with it.
EARLIER_PAIRS = (8, 8, 16)
# CUBLAS_WORKSPACE_CONFIG=:4096:8, which `deterministic=True` sets: 8 times 4 MiB for each thread
# that multiplies matrices, the one that goes forward and autograd's (ATen/cuda/CublasHandlePool).
CUBLAS_WORKSPACE = 32 * MIB
NUMBER = 4  # bytes of a gradient's norm, and of the count of steps that fused optimizers keep


@dataclass(frozen=True, slots=True)
class Workload:
    """A config, its image size a multiple of the stride, and what was looked up for it.

    Attributes:
        config: What is trained.
        boxes: Padded number of boxes per image.
        optimizer: What the optimizer holds.
        pairs: Bytes of every anchor and box that the assigner holds beside what was traced.
        steps: Optimizer steps before validation.
    """

    config: MemoryConfig
    boxes: float
    optimizer: Optimizer
    pairs: tuple[int, ...] = ()
    steps: int = 2


@dataclass(frozen=True, slots=True)
class Order:
    """A script as arrays: of each birth and death, in order, its number, size and part.

    Attributes:
        numbers: +number at a birth, -number at a death.
        sizes: Where the storage's bytes are among the amounts.
        parts: Where what it is for is among `PARTS`.
        training: Number of them before validation begins.
    """

    numbers: NDArray[np.int64]
    sizes: NDArray[np.int64]
    parts: NDArray[np.int64]
    training: int


@dataclass(frozen=True, slots=True)
class Program:
    """An order, and the bytes that each birth and death adds to what is live."""

    order: Order
    changes: NDArray[np.int64]

    @property
    def phases(self) -> tuple[Events, Events]:
        """Training, and validation after it."""
        events = list(zip(self.order.numbers.tolist(), self.changes.tolist(), strict=True))
        return events[: self.order.training], events[self.order.training :]

    def live(self, event: int) -> dict[str, float]:
        """GiB after an event, by part."""
        parts, changes = self.order.parts[: event + 1], self.changes[: event + 1]
        held = np.bincount(parts, changes, len(PARTS)) / GIB
        return dict(zip(PARTS, held.tolist(), strict=True))


def whole_run(trace: StepTrace, load: Workload) -> Program:
    """Set-up, optimizer steps and a batch of validation, as one process runs them."""
    order = _order(trace, replace(load, config=load.config.memory_class, boxes=0.0))
    amounts = np.fromiter(chain(*_amounts(trace, load).values()), np.int64)
    return Program(order, amounts[order.sizes] * np.sign(order.numbers))


@lru_cache(maxsize=8)  # the batches of a plan differ in nothing but sizes
def _order(trace: StepTrace, load: Workload) -> Order:
    places: dict[str, range] = {}
    end = 0
    for source, amounts in _amounts(trace, load).items():
        places[source] = range(end, end + len(amounts))
        end += len(amounts)
    script = write_script(trace, places, load.optimizer, load.steps, load.config.accumulates)
    numbers = np.array(script.numbers)
    storages = abs(numbers) - 1
    return Order(
        numbers,
        np.array(script.sizes)[storages],
        np.array([PARTS.index(part) for part in script.parts])[storages],
        script.training,
    )


def _amounts(trace: StepTrace, load: Workload) -> dict[str, list[int]]:
    """Bytes of all that a run allocates, by source."""
    config = load.config
    trained = config.batch, config.imgsz
    # One stride larger: `rect` and `pad` of Ultralytics, square images.
    validated = config.validated, config.imgsz + trace.stride
    model, loss = model_basis(*trained), _loss_point(trace, load, *trained)
    bases = {name: [1.0] for name in ("weights", "ema", "optimizer")}
    bases |= {name: model for name in ("forward", "release", "backward")}
    bases |= {name: loss for name in ("loss", "loss_backward")}
    bases["val_forward"] = model_basis(*validated)
    bases["val_loss"] = _loss_point(trace, load, *validated)
    return {
        "cublas": [CUBLAS_WORKSPACE],
        "number": [NUMBER],
        "image": _image(*trained, 4),
        "val_image": _image(*validated, 2 if config.amp else 4),
        "pairs": _pairs(trace, load, *trained),
        "val_pairs": _pairs(trace, load, *validated),
        **{name: trace.sections[name].sizes(basis) for name, basis in bases.items()},
    }


def _image(batch: int, imgsz: int, width: int) -> list[int]:
    """As bytes, cast, and divided."""
    pixels = batch * 3 * imgsz**2
    return [pixels, width * pixels, width * pixels]


def _pairs(trace: StepTrace, load: Workload, batch: int, imgsz: int) -> list[int]:
    pairs = int(batch * load.boxes * trace.anchors * area(imgsz))
    return [pairs * width for width in load.pairs]


def _loss_point(trace: StepTrace, load: Workload, batch: int, imgsz: int) -> list[float]:
    counts = trace.count_rates @ count_basis(batch, imgsz, load.boxes, COVERAGE)
    return loss_basis(batch, imgsz, load.boxes, counts.tolist())
