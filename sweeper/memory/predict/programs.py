"""Put the sections of a traced step in the order in which training and validation run them."""

from __future__ import annotations

from collections.abc import Iterable
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
from sweeper.numbers import MIB

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


@dataclass(slots=True)
class Program:
    """What a program asks of the allocator, in order; storage number i holds `parts[i - 1]`.

    Attributes:
        events: Births and deaths.
        parts: What each storage is for.
        training: Number of events before validation begins.
        born: What exists once and for good by now: workspaces by thread, the optimizer's state.
    """

    events: Events = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    training: int = 0
    born: set[str] = field(default_factory=set)
    _sized: dict[int, Events] = field(default_factory=dict)

    def at(self, section: SectionTrace, basis: list[float]) -> Events:
        """A section's events at a point of its basis, always the same in one program."""
        if id(section) not in self._sized:
            sizes = section.sizes(basis)
            self._sized[id(section)] = list(zip(section.numbers.tolist(), sizes, strict=True))
        return self._sized[id(section)]

    def allocate(self, part: str, nbytes: int) -> int:
        """Return the number of a new storage."""
        self.parts.append(part)
        self.events.append((len(self.parts), nbytes))
        return len(self.parts)

    def free(self, numbers: Iterable[int]) -> None:
        """End storages."""
        self.events.extend((-number, 0) for number in numbers)

    def multiply(self, thread: str) -> None:
        """A first product of matrices takes cuBLAS's workspace, for good."""
        if thread not in self.born:
            self.born.add(thread)
            self.allocate("workspace", CUBLAS_WORKSPACE)

    def run(
        self,
        section: SectionTrace,
        basis: list[float],
        part: str,
        live: dict[int, int],
        thread: str = "forward",
    ) -> None:
        """Append a section at a point of its basis; `live` maps its storage numbers to ours."""
        events, parts = self.events, self.parts
        for number, nbytes in self.at(section, basis):
            if number > 0:
                parts.append(part)
                live[number] = len(parts)
                events.append((len(parts), nbytes))
            elif number < 0:
                events.append((-live.pop(-number), 0))
            else:
                self.multiply(thread)


def whole_run(trace: StepTrace, load: Workload) -> Program:
    """Set-up, optimizer steps and a batch of validation, as one process runs them.

    The optimizer's state is born in the first step and held through the others. With accumulation
    a step takes two micro-batches; a third adds nothing new.
    """
    program, config = Program(), load.config
    program.run(trace.sections["weights"], [1.0], "weights", {})
    program.run(trace.sections["ema"], [1.0], "ema", {})
    images: list[int] = []
    gradients: dict[int, int] = {}
    for number in range(load.steps * (2 if config.accumulates else 1)):
        # Ultralytics' progress bar goes over `enumerate`, which takes a new tuple every second
        # time (CPython's enum_next): the old one holds the batch before.
        if number % 2 == 0:
            program.free(images)
            images = []
        images.append(_input(program, config.batch, config.imgsz, 4))
        _micro_batch(program, trace, load, gradients)
        if number % 2 or not config.accumulates:
            _step(program, trace, load)
            program.free(gradients.values())  # zero_grad(set_to_none=True)
            gradients.clear()
    program.training = len(program.events)
    _validate(program, trace, load)
    return program


def _step(program: Program, trace: StepTrace, load: Workload) -> None:
    """Norms for clipping, the optimizer's state if it is the first step, its temporaries."""
    sizes, optimizer = trace.sections["optimizer"].sizes([1.0]), load.optimizer
    program.free([program.allocate("optimizer", NUMBER) for _ in sizes])
    if "optimizer" not in program.born:
        program.born.add("optimizer")
        for size in sizes:
            for width in [NUMBER] * optimizer.fused + [size] * optimizer.states:
                program.allocate("optimizer", width)
    temporaries = [size for size in sizes for _ in range(optimizer.temporaries)]
    program.free([program.allocate("optimizer", size) for size in temporaries])


def _validate(program: Program, trace: StepTrace, load: Workload) -> None:
    """One stride larger (`rect` and `pad` of Ultralytics, square images)."""
    config = load.config
    batch, imgsz = config.validated, config.imgsz + trace.stride
    image = _input(program, batch, imgsz, 2 if config.amp else 4)
    live: dict[int, int] = {}
    program.run(trace.sections["val_forward"], model_basis(batch, imgsz), "activations", live)
    loss: dict[int, int] = {}
    _pairs(program, trace, load, batch, imgsz)
    program.run(trace.sections["val_loss"], _loss_point(trace, load, batch, imgsz), "loss", loss)
    program.free([*loss.values(), *live.values(), image])


def _input(program: Program, batch: int, imgsz: int, width: int) -> int:
    """A batch arrives as bytes, becomes floats, is divided by 255 (`preprocess_batch`)."""
    pixels = batch * 3 * imgsz**2
    raw = program.allocate("input", pixels)
    cast = program.allocate("input", width * pixels)
    image = program.allocate("input", width * pixels)
    program.free([cast, raw])
    return image


def _pairs(program: Program, trace: StepTrace, load: Workload, batch: int, imgsz: int) -> None:
    pairs = int(batch * load.boxes * trace.anchors * area(imgsz))
    program.free([program.allocate("loss", pairs * width) for width in load.pairs])


def _loss_point(trace: StepTrace, load: Workload, batch: int, imgsz: int) -> list[float]:
    counts = trace.count_rates @ count_basis(batch, imgsz, load.boxes, COVERAGE)
    return loss_basis(batch, imgsz, load.boxes, counts.tolist())


def _micro_batch(
    program: Program, trace: StepTrace, load: Workload, gradients: dict[int, int]
) -> None:
    """Forward, loss and both backwards; a first backward's gradients stay, others are added."""
    sections, batch, imgsz = trace.sections, load.config.batch, load.config.imgsz
    model: dict[int, int] = {}
    loss: dict[int, int] = {}
    basis, point = model_basis(batch, imgsz), _loss_point(trace, load, batch, imgsz)
    program.run(sections["forward"], basis, "activations", model)
    _pairs(program, trace, load, batch, imgsz)
    program.run(sections["loss"], point, "loss", loss)
    program.run(sections["release"], basis, "activations", model)
    program.run(sections["loss_backward"], point, "loss", loss, "autograd")
    program.free(loss.values())
    _backward(program, sections["backward"], basis, model, gradients)


def _backward(
    program: Program,
    section: SectionTrace,
    basis: list[float],
    model: dict[int, int],
    gradients: dict[int, int],
) -> None:
    kept, events = set(section.kept.tolist()), program.events
    for number, nbytes in program.at(section, basis):
        if number < 0:
            events.append((-model.pop(-number), 0))
        elif number == 0:
            program.multiply("autograd")
        elif number not in kept:
            model[number] = program.allocate("activations", nbytes)
        elif number not in gradients:
            gradients[number] = program.allocate("gradients", nbytes)
        else:
            program.free([program.allocate("gradients", nbytes)])  # AccumulateGrad adds in place
    program.free(model.values())
