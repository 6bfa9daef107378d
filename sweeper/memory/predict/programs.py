"""Put the sections of a traced step in the order in which training and validation run them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.optimizers import Optimizer
from sweeper.memory.predict.polynomials import (
    Events,
    SectionTrace,
    StepTrace,
    area,
    count_basis,
    loss_basis,
    model_basis,
)

# Of the image, covered by one object: decides how many anchors the assigner compares it with.
COVERAGE = 0.05
# Through Ultralytics 8.3 the assigner held the four distances of every anchor to every box, and
# their halves before joining them: 32 bytes a pair (`select_candidates_in_gts`). Later releases
# need less, but the readings were taken with it and people pin releases: the prediction covers it.
PAIR_BYTES = (8, 8, 16)


@dataclass(frozen=True, slots=True)
class Workload:
    """A config, its image size a multiple of the stride, and what was looked up for it.

    Attributes:
        config: What is trained.
        boxes: Padded number of boxes per image.
        optimizer: What the optimizer holds.
    """

    config: MemoryConfig
    boxes: float
    optimizer: Optimizer


@dataclass(slots=True)
class Program:
    """What a program asks of the allocator, in order; storage number i holds `parts[i - 1]`."""

    events: Events = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def allocate(self, part: str, nbytes: int) -> int:
        """Return the number of a new storage."""
        self.parts.append(part)
        self.events.append((len(self.parts), nbytes))
        return len(self.parts)

    def free(self, numbers: list[int]) -> None:
        """End storages."""
        self.events.extend((-number, 0) for number in numbers)

    def run(
        self, section: SectionTrace, basis: list[float], part: str, live: dict[int, int]
    ) -> None:
        """Append a section at a point of its basis; `live` maps its storage numbers to ours."""
        for number, nbytes in zip(section.numbers.tolist(), section.sizes(basis), strict=True):
            if number > 0:
                live[number] = self.allocate(part, nbytes)
            else:
                self.free([live.pop(-number)])


def training(trace: StepTrace, load: Workload) -> Program:
    """Two optimizer steps: state is born in the first and held through the second.

    The first has one micro-batch, as in Ultralytics, whose warm-up ramps `accumulate` from 1; the
    second has two where there are more, since a third adds nothing new.
    """
    program, config = Program(), load.config
    _residents(program, trace)
    image: list[int] = []
    for first, micro_batches in ((True, 1), (False, 2 if config.accumulates else 1)):
        gradients: dict[int, int] = {}
        for _ in range(micro_batches):
            program.free(image)
            image = [_input(program, config.batch, config.imgsz, 4)]
            _micro_batch(program, trace, load, gradients)
        if first:
            _like_gradients(program, trace, load.optimizer.states)
        program.free(_like_gradients(program, trace, load.optimizer.temporaries))
        program.free(list(gradients.values()))  # zero_grad(set_to_none=True)
    return program


def validation(trace: StepTrace, load: Workload) -> Program:
    """One batch of twice the images, as Ultralytics validates, beside the optimizer's state."""
    program, config = Program(), load.config
    _residents(program, trace)
    _like_gradients(program, trace, load.optimizer.states)
    batch = 2 * config.batch
    _input(program, batch, config.imgsz, 2 if config.amp else 4)
    basis = model_basis(batch, config.imgsz)
    program.run(trace.sections["val_forward"], basis, "activations", {})
    _pairs(program, trace, load, batch)
    program.run(trace.sections["val_loss"], _loss_point(trace, load, batch), "loss", {})
    return program


def _residents(program: Program, trace: StepTrace) -> None:
    for part in ("weights", "ema"):
        program.run(trace.sections["weights"], [1.0], part, {})


def _input(program: Program, batch: int, imgsz: int, width: int) -> int:
    """A batch arrives as bytes, becomes floats, is divided by 255 (`preprocess_batch`)."""
    pixels = batch * 3 * imgsz**2
    raw = program.allocate("input", pixels)
    cast = program.allocate("input", width * pixels)
    image = program.allocate("input", width * pixels)
    program.free([cast, raw])
    return image


def _pairs(program: Program, trace: StepTrace, load: Workload, batch: int) -> None:
    pairs = int(batch * load.boxes * trace.anchors * area(load.config.imgsz))
    program.free([program.allocate("loss", pairs * width) for width in PAIR_BYTES])


def _loss_point(trace: StepTrace, load: Workload, batch: int) -> list[float]:
    imgsz = load.config.imgsz
    counts = trace.count_rates @ count_basis(batch, imgsz, load.boxes, COVERAGE)
    return loss_basis(batch, imgsz, load.boxes, counts.tolist())


def _micro_batch(
    program: Program, trace: StepTrace, load: Workload, gradients: dict[int, int]
) -> None:
    """Forward, loss and both backwards; a first backward's gradients stay, others are added."""
    sections, batch = trace.sections, load.config.batch
    model: dict[int, int] = {}
    loss: dict[int, int] = {}
    basis, point = model_basis(batch, load.config.imgsz), _loss_point(trace, load, batch)
    program.run(sections["forward"], basis, "activations", model)
    _pairs(program, trace, load, batch)
    program.run(sections["loss"], point, "loss", loss)
    program.run(sections["release"], basis, "activations", model)
    program.run(sections["loss_backward"], point, "loss", loss)
    program.free(list(loss.values()))
    _backward(program, sections["backward"], basis, model, gradients)


def _backward(
    program: Program,
    section: SectionTrace,
    basis: list[float],
    model: dict[int, int],
    gradients: dict[int, int],
) -> None:
    kept = set(section.kept.tolist())
    for number, nbytes in zip(section.numbers.tolist(), section.sizes(basis), strict=True):
        if number < 0:
            program.free([model.pop(-number)])
        elif number not in kept:
            model[number] = program.allocate("activations", nbytes)
        elif number not in gradients:
            gradients[number] = program.allocate("gradients", nbytes)
        else:
            program.free([program.allocate("gradients", nbytes)])  # AccumulateGrad adds in place
    program.free(list(model.values()))


def _like_gradients(program: Program, trace: StepTrace, copies: int) -> list[int]:
    """Tensors of the optimizer, shaped like the gradients, whose sizes depend on nothing."""
    section = trace.sections["backward"]
    kept = set(section.kept.tolist())
    events = zip(section.numbers.tolist(), section.sizes([1.0, 0, 0, 0, 0]), strict=True)
    sizes = [nbytes for number, nbytes in events if number in kept]
    return [program.allocate("optimizer", size) for size in sizes for _ in range(copies)]
