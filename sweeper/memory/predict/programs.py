"""Put the sections of a traced step in the order in which training and validation run them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.memory.predict.optimizers import Optimizer
from sweeper.memory.predict.polynomials import (
    Events,
    StepTrace,
    Tape,
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
    """What a trace leaves open; `boxes` is the padded number per image."""

    batch: int
    imgsz: int
    boxes: float
    accumulate: int
    amp: bool
    optimizer: Optimizer


@dataclass(slots=True)
class Timeline:
    """Events of one program; storage number i holds `parts[i - 1]`."""

    events: Events = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def birth(self, part: str, nbytes: int) -> int:
        """Return the number of a new storage."""
        self.parts.append(part)
        self.events.append((len(self.parts), nbytes))
        return len(self.parts)

    def free(self, numbers: list[int]) -> None:
        """End storages."""
        self.events.extend((-number, 0) for number in numbers)

    def play(self, tape: Tape, basis: list[float], part: str, live: dict[int, int]) -> None:
        """Copy a tape; `live` maps its numbers to ours."""
        for number, nbytes in zip(tape.numbers.tolist(), tape.sizes(basis), strict=True):
            if number > 0:
                live[number] = self.birth(part, nbytes)
            else:
                self.free([live.pop(-number)])


def training(trace: StepTrace, load: Workload) -> Timeline:
    """Two optimizer steps: state is born in the first and held through the second.

    The first has one micro-batch, as in Ultralytics, whose warm-up ramps `accumulate` from 1; the
    second has two where there are more, since a third adds nothing new.
    """
    line = Timeline()
    _residents(line, trace)
    image: list[int] = []
    for first, micro_batches in ((True, 1), (False, min(load.accumulate, 2))):
        gradients: dict[int, int] = {}
        for _ in range(micro_batches):
            line.free(image)
            image = [_input(line, load.batch, load.imgsz, 4)]
            _micro_batch(line, trace, load, gradients)
        if first:
            _like_gradients(line, trace, load.optimizer.states)
        line.free(_like_gradients(line, trace, load.optimizer.temporaries))
        line.free(list(gradients.values()))  # zero_grad(set_to_none=True)
    return line


def validation(trace: StepTrace, load: Workload) -> Timeline:
    """One batch of twice the images, as Ultralytics validates, beside the optimizer's state."""
    line = Timeline()
    _residents(line, trace)
    _like_gradients(line, trace, load.optimizer.states)
    batch = 2 * load.batch
    _input(line, batch, load.imgsz, 2 if load.amp else 4)
    line.play(trace.tapes["val_forward"], model_basis(batch, load.imgsz), "activations", {})
    _pairs(line, trace, load, batch)
    line.play(trace.tapes["val_loss"], _loss_point(trace, load, batch), "loss", {})
    return line


def _residents(line: Timeline, trace: StepTrace) -> None:
    for part in ("weights", "ema"):
        line.play(trace.tapes["weights"], [1.0], part, {})


def _input(line: Timeline, batch: int, imgsz: int, width: int) -> int:
    """A batch arrives as bytes, becomes floats, is divided by 255 (`preprocess_batch`)."""
    pixels = batch * 3 * imgsz**2
    raw = line.birth("input", pixels)
    cast = line.birth("input", width * pixels)
    image = line.birth("input", width * pixels)
    line.free([cast, raw])
    return image


def _pairs(line: Timeline, trace: StepTrace, load: Workload, batch: int) -> None:
    pairs = int(batch * load.boxes * trace.anchors * area(load.imgsz))
    line.free([line.birth("loss", pairs * width) for width in PAIR_BYTES])


def _loss_point(trace: StepTrace, load: Workload, batch: int) -> list[float]:
    counts = trace.count_rates @ count_basis(batch, load.imgsz, load.boxes, COVERAGE)
    return loss_basis(batch, load.imgsz, load.boxes, counts.tolist())


def _micro_batch(
    line: Timeline, trace: StepTrace, load: Workload, gradients: dict[int, int]
) -> None:
    """Forward, loss and both backwards; a first backward's gradients stay, others are added."""
    tapes = trace.tapes
    model: dict[int, int] = {}
    loss: dict[int, int] = {}
    basis, point = model_basis(load.batch, load.imgsz), _loss_point(trace, load, load.batch)
    line.play(tapes["forward"], basis, "activations", model)
    _pairs(line, trace, load, load.batch)
    line.play(tapes["loss"], point, "loss", loss)
    line.play(tapes["release"], basis, "activations", model)
    line.play(tapes["loss_backward"], point, "loss", loss)
    line.free(list(loss.values()))
    _backward(line, tapes["backward"], basis, model, gradients)


def _backward(
    line: Timeline,
    tape: Tape,
    basis: list[float],
    model: dict[int, int],
    gradients: dict[int, int],
) -> None:
    kept = set(tape.kept.tolist())
    for number, nbytes in zip(tape.numbers.tolist(), tape.sizes(basis), strict=True):
        if number < 0:
            line.free([model.pop(-number)])
        elif number not in kept:
            model[number] = line.birth("activations", nbytes)
        elif number not in gradients:
            gradients[number] = line.birth("gradients", nbytes)
        else:
            line.free([line.birth("gradients", nbytes)])  # AccumulateGrad adds it in place
    line.free(list(model.values()))


def _like_gradients(line: Timeline, trace: StepTrace, copies: int) -> list[int]:
    """Tensors of the optimizer, shaped like the gradients, whose sizes depend on nothing."""
    tape = trace.tapes["backward"]
    kept = set(tape.kept.tolist())
    events = zip(tape.numbers.tolist(), tape.sizes([1.0, 0, 0, 0, 0]), strict=True)
    sizes = [nbytes for number, nbytes in events if number in kept]
    return [line.birth("optimizer", size) for size in sizes for _ in range(copies)]
