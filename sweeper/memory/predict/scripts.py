"""The order in which training and validation run the sections of a traced step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sweeper.memory.predict.optimizers import Optimizer
from sweeper.memory.predict.polynomials import StepTrace


@dataclass(slots=True)
class Script:
    """Births and deaths of storages, in order; how large they are, `places` only point at.

    Attributes:
        trace: Its sections are run.
        places: Where the amounts of every source are.
        numbers: +number at a birth, -number at a death.
        parts: What each storage is for, by its number less one.
        sizes: Where its bytes are.
        training: Number of births and deaths before validation begins.
        born: What exists once and for good by now: workspaces by thread, the optimizer's state.
    """

    trace: StepTrace
    places: Mapping[str, range]
    numbers: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    training: int = 0
    born: set[str] = field(default_factory=set)

    def allocate(self, part: str, source: str, index: int = 0) -> int:
        """Return the number of a new storage, as large as an amount of a source."""
        self.parts.append(part)
        self.sizes.append(self.places[source][index])
        self.numbers.append(len(self.parts))
        return len(self.parts)

    def free(self, numbers: Iterable[int]) -> None:
        """End storages."""
        self.numbers.extend(-number for number in numbers)

    def pass_by(self, part: str, source: str) -> None:
        """All amounts of a source are allocated, then freed."""
        self.free([self.allocate(part, source, i) for i in range(len(self.places[source]))])

    def multiply(self, thread: str) -> None:
        """A first product of matrices takes cuBLAS's workspace, for good."""
        if thread not in self.born:
            self.born.add(thread)
            self.allocate("workspace", "cublas")

    def run(self, name: str, part: str, live: dict[int, int], thread: str = "forward") -> None:
        """Append a section; `live` maps its storage numbers to ours."""
        for index, number in enumerate(self.trace.sections[name].numbers.tolist()):
            if number > 0:
                live[number] = self.allocate(part, name, index)
            elif number < 0:
                self.free([live.pop(-number)])
            else:
                self.multiply(thread)


def write_script(
    trace: StepTrace,
    places: Mapping[str, range],
    optimizer: Optimizer,
    steps: int,
    accumulates: bool,
) -> Script:
    """Set-up, optimizer steps and a batch of validation, as one process runs them.

    The optimizer's state is born in the first step and held through the others. With accumulation
    a step takes two micro-batches; a third adds nothing new.
    """
    script = Script(trace, places)
    script.run("weights", "weights", {})
    script.run("ema", "ema", {})
    images: list[int] = []
    gradients: dict[int, int] = {}
    for number in range(steps * (2 if accumulates else 1)):
        # Ultralytics' progress bar goes over `enumerate`, which takes a new tuple every second
        # time (CPython's enum_next): the old one holds the batch before.
        if number % 2 == 0:
            script.free(images)
            images = []
        images.append(_input(script, "image"))
        _micro_batch(script, gradients)
        if number % 2 or not accumulates:
            _step(script, optimizer)
            script.free(gradients.values())  # zero_grad(set_to_none=True)
            gradients.clear()
    script.training = len(script.numbers)
    _validate(script)
    return script


def _step(script: Script, optimizer: Optimizer) -> None:
    """Norms for clipping, the optimizer's state if it is the first step, its temporaries."""
    parameters = range(len(script.places["optimizer"]))
    script.free([script.allocate("optimizer", "number") for _ in parameters])
    if "optimizer" not in script.born:
        script.born.add("optimizer")
        for i in parameters:
            if optimizer.fused:
                script.allocate("optimizer", "number")
            for _ in range(optimizer.states):
                script.allocate("optimizer", "optimizer", i)
    script.free(
        [
            script.allocate("optimizer", "optimizer", i)
            for i in parameters
            for _ in range(optimizer.temporaries)
        ]
    )


def _validate(script: Script) -> None:
    image = _input(script, "val_image")
    live: dict[int, int] = {}
    script.run("val_forward", "activations", live)
    loss: dict[int, int] = {}
    script.pass_by("loss", "val_pairs")
    script.run("val_loss", "loss", loss)
    script.free([*loss.values(), *live.values(), image])


def _input(script: Script, source: str) -> int:
    """A batch arrives as bytes, becomes floats, is divided by 255 (`preprocess_batch`)."""
    raw, cast, image = (script.allocate("input", source, i) for i in range(3))
    script.free([cast, raw])
    return image


def _micro_batch(script: Script, gradients: dict[int, int]) -> None:
    """Forward, loss and both backwards; a first backward's gradients stay, others are added."""
    model: dict[int, int] = {}
    loss: dict[int, int] = {}
    script.run("forward", "activations", model)
    script.pass_by("loss", "pairs")
    script.run("loss", "loss", loss)
    script.run("release", "activations", model)
    script.run("loss_backward", "loss", loss, "autograd")
    script.free(loss.values())
    _backward(script, model, gradients)


def _backward(script: Script, model: dict[int, int], gradients: dict[int, int]) -> None:
    section = script.trace.sections["backward"]
    kept = set(section.kept.tolist())
    for index, number in enumerate(section.numbers.tolist()):
        if number < 0:
            script.free([model.pop(-number)])
        elif number == 0:
            script.multiply("autograd")
        elif number not in kept:
            model[number] = script.allocate("activations", "backward", index)
        else:
            gradient = script.allocate("gradients", "backward", index)
            if number in gradients:
                script.free([gradient])  # AccumulateGrad adds in place
            else:
                gradients[number] = gradient
    script.free(model.values())
