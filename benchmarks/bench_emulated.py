"""Compare predicted memory with torch's own allocator, on an emulated card and on a GPU."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that a checkout needs no install

from sweeper.emulator.launch import start_again  # noqa: E402
from sweeper.emulator.machine import Card, Machine, is_emulated  # noqa: E402
from sweeper.memory.config import MemoryConfig  # noqa: E402
from sweeper.memory.predict.architecture import find_architecture  # noqa: E402
from sweeper.memory.predict.bound import LEVEL, upper  # noqa: E402
from sweeper.memory.predict.cache import DEFAULT_DIR, load_trace  # noqa: E402
from sweeper.memory.predict.calibration import FITTED, Calibration  # noqa: E402
from sweeper.memory.predict.peaks import replay_trace  # noqa: E402
from sweeper.numbers import GIB  # noqa: E402
from sweeper.training.full_images import BATCHES, few_steps  # noqa: E402
from sweeper.trial.levers import CHECKPOINTS  # noqa: E402
from sweeper.trial.spec import Amp  # noqa: E402

READINGS = Path(__file__).with_name("emulated_vram.csv")
MEASURED = Path(__file__).with_name("measured_vram.csv")
CARD_GIB = 96  # never half full: nothing empties the cache
CONTEXT_GIB = 0.3  # of an emulated card
CLASSES = 10
BOXES = 4  # in every image
OPTIMIZER = "AdamW"
MECHANISM = Calibration(0, 0, spread=0)  # nothing fitted
PEAKS = ("allocated", "reserved")
HEAD = "model    batch accumulate amp   imgsz checkpoint val  freeze"
FROZEN = 10  # layers
# batch, accumulate, imgsz
CELLS = {
    "yolo11n": ((4, 1, 96), (32, 2, 96), (16, 1, 160), (8, 2, 320), (2, 2, 640), (6, 1, 640)),
    "yolo11s": ((4, 1, 96), (16, 2, 160), (8, 1, 224), (4, 2, 320), (2, 1, 640), (3, 2, 640)),
    "yolo11m": ((4, 2, 96), (8, 1, 160), (4, 1, 320), (6, 2, 224), (2, 1, 640), (2, 2, 512)),
    "yolo11x": ((2, 1, 96), (8, 2, 96), (4, 1, 160), (2, 2, 224), (2, 1, 320), (2, 2, 640)),
}


# The same under the keys of memory.: activations computed again, fewer images validated at once
# (but more than trained at once, so that they stay the peak), a frozen backbone.
LEVERS = {"yolo11n": (16, 1, 160), "yolo11m": (8, 1, 160), "yolo11x": (4, 1, 160)}
# model, amp, size of the card: batch 16 at 640 px on a card so small that the cache is emptied
# before validation; what host memory has room for
TIGHT: dict[tuple[str, Amp, int], tuple[str, ...]] = {
    ("yolo11n", False, 5): CHECKPOINTS,
    ("yolo11n", True, 3): CHECKPOINTS,
    ("yolo11m", False, 10): CHECKPOINTS[1:],
    ("yolo11m", True, 9): CHECKPOINTS,
    ("yolo11x", False, 15): CHECKPOINTS[2:],
    ("yolo11x", True, 9): CHECKPOINTS[1:],
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is trained."""

    model: str
    batch: int
    accumulate: int
    amp: Amp
    imgsz: int
    checkpoint: str = "none"
    val_batch: int | None = None
    freeze: int = 0
    card_gib: int = CARD_GIB


KINDS: dict[str, Callable[[Cell], bool]] = {
    "as always": lambda c: (c.checkpoint, c.val_batch, c.freeze) == ("none", None, 0),
    "activations computed again": lambda c: c.checkpoint != "none" and c.val_batch is None,
    "and fewer images validated at once": lambda c: c.val_batch is not None,
    "frozen layers": lambda c: c.freeze > 0,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """Peaks of torch's allocator over training and validation, bytes."""

    cell: Cell
    allocated: int
    reserved: int


def cells() -> list[Cell]:
    """The cells, small ones first."""
    found = [
        Cell(model, *size[:2], amp, size[2])
        for model, sizes in CELLS.items()
        for size in sizes
        for amp in (False, True)
    ]
    for model, size in LEVERS.items():
        for amp in (False, True):
            plain = Cell(model, *size[:2], amp, size[2])
            found += [replace(plain, checkpoint=part) for part in CHECKPOINTS]
            found += [replace(plain, checkpoint="all", val_batch=3 * plain.batch // 2)]
            found += [replace(plain, freeze=FROZEN)]
    found += [
        Cell(model, 16, 1, amp, 640, part, card_gib=card_gib)
        for (model, amp, card_gib), parts in TIGHT.items()
        for part in parts
    ]
    return sorted(dict.fromkeys(found), key=lambda cell: cell.batch * cell.imgsz**2)


def load(file: Path) -> list[Reading]:
    """Readings of a file."""
    with file.open(newline="") as lines:
        return [_reading(row) for row in csv.DictReader(lines)]


def _reading(row: dict[str, str]) -> Reading:
    numbers = {key: int(row[key]) for key in ("batch", "accumulate", "imgsz")}
    checkpoint = row.get("checkpoint") or "none"  # the GPU has read none
    numbers["val_batch"] = int(row["val_batch"]) if row.get("val_batch") else None
    numbers["freeze"] = int(row.get("freeze", 0))
    numbers["card_gib"] = int(row.get("card_gib", CARD_GIB))
    cell = Cell(model=row["model"], amp=row["amp"] == "True", checkpoint=checkpoint, **numbers)
    return Reading(cell, int(row["allocated"]), int(row["reserved"]))


def read(file: Path) -> None:
    """Train the cells that the file lacks, on this process's emulated card, each in a fork."""
    known = [reading.cell for reading in load(file)] if file.exists() else []
    names = [f.name for f in fields(Cell)]
    versions = {name: version(name) for name in ("torch", "ultralytics")}
    columns = [*names, *PEAKS, "source", *versions]
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        if not known:
            writer.writeheader()
        for cell in cells():
            if cell not in known:
                peaks = train_in_fork(cell)
                writer.writerow({**asdict(cell), **peaks, "source": "emulated", **versions})
                lines.flush()
                print(cell, peaks, flush=True)


def train_in_fork(cell: Cell) -> dict[str, int]:
    """Train a cell in a process of its own."""
    return in_fork(lambda folder: train(cell, folder))


def in_fork(work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` answers, given a folder, in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with tempfile.TemporaryDirectory() as folder, os.fdopen(writer, "w") as answer:
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, 1)
                answer.write(json.dumps(work(Path(folder))))
        finally:
            os._exit(0)  # torch's threads may not survive the end of Python
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    if not text:
        raise RuntimeError("the training died")
    return dict(json.loads(text))


def train(cell: Cell, folder: Path) -> dict[str, int]:
    """Run a trial as a study runs it, and read the allocator's peaks."""
    from sweeper.executors.devices import find_devices
    from sweeper.training.run import run_trial
    from sweeper.trial.folder import TrialFolder

    trial = TrialFolder(folder / "trial")
    spec = few_steps(replace(config_of(cell), fullest_image=BOXES), folder / "data", cell.card_gib)
    trial.prepare(spec)
    facts = run_trial(spec, trial, find_devices("auto").names[0], Silent())
    memory = facts.memory
    if facts.ending != "complete" or memory is None:
        raise RuntimeError(f"{cell}: {facts.message}")
    peaks = memory.allocated_gib, memory.reserved_gib
    return {k: round(peak * GIB) for k, peak in zip(PEAKS, peaks, strict=True)}


class Silent:
    """Nobody listens to the training."""

    def send_epoch(self, report: object) -> None:
        """Ignore an epoch."""

    def send_progress(self, done: int, total: int) -> None:
        """Ignore progress."""


def config_of(cell: Cell) -> MemoryConfig:
    """What the memory of a cell depends on."""
    return MemoryConfig(
        model=f"{cell.model}.yaml",
        nc=CLASSES,
        batch=cell.batch,
        accumulates=cell.accumulate > 1,
        amp=cell.amp,
        imgsz=cell.imgsz,
        optimizer=OPTIMIZER,
        boxes_per_image=BOXES,
        images=BATCHES * cell.batch,
        checkpoint=cell.checkpoint,
        val_batch=cell.val_batch,
        freeze=cell.freeze,
    )


@cache
def predict(cell: Cell, calibration: Calibration = MECHANISM) -> tuple[float, float]:
    """Allocated and reserved peaks, bytes."""
    architecture, folder = find_architecture(cell.model), ROOT / DEFAULT_DIR
    levers = cell.checkpoint, cell.freeze
    trace = load_trace(architecture, CLASSES, bool(cell.amp), folder, *levers)
    steps = min(calibration.steps, BATCHES // cell.accumulate)
    peaks = replay_trace(trace, config_of(cell), replace(calibration, steps=steps))
    phases = peaks.within(cell.card_gib, CONTEXT_GIB)
    allocated = max(phase.allocated_gib for phase in phases)
    return allocated * GIB, max(phase.reserved_gib for phase in phases) * GIB


def print_emulated(readings: list[Reading]) -> None:
    """What mechanism alone says of an emulated card."""
    print(f"Emulated, mechanism alone\n{HEAD}  allocated GiB  error  reserved GiB  error")
    for reading in readings:
        allocated, reserved = errors(reading)
        print(
            f"{_name(reading.cell)}  {reading.allocated / GIB:13.3f} {allocated:+6.1%} "
            f"{reading.reserved / GIB:13.3f} {reserved:+6.1%}"
        )
    for told, is_meant in KINDS.items():
        print(told)
        _print_summary([reading for reading in readings if is_meant(reading.cell)])


def print_measured(readings: list[Reading]) -> None:
    """What mechanism alone, the prediction and its bound say of a GPU."""
    print(f"\nMeasured, reserved\n{HEAD}  reserved GiB  alone  predicted  bound ({LEVEL:.0%})")
    for reading in readings:
        (_, alone), (_, predicted) = errors(reading), errors(reading, FITTED)
        print(
            f"{_name(reading.cell)}  {reading.reserved / GIB:12.3f} {alone:+6.1%} "
            f"{predicted:+10.1%}  {'covers' if is_covered(reading) else 'too low'}"
        )
    for amp in (True, False):
        some = [reading for reading in readings if reading.cell.amp == amp]
        print(f"amp {amp}, mechanism alone")
        _print_summary(some)
        signed = [errors(reading, FITTED)[1] for reading in some]
        print(
            f"predicted n {len(some)}  median {median(signed):+.2%}  "
            f"{min(signed):+.2%} to {max(signed):+.2%}  "
            f"covered by the bound {sum(map(is_covered, some))}"
        )


def errors(reading: Reading, calibration: Calibration = MECHANISM) -> tuple[float, float]:
    """Of the allocated and of the reserved peak, as a share of what was read."""
    allocated, reserved = predict(reading.cell, calibration)
    return allocated / reading.allocated - 1, reserved / reading.reserved - 1


def is_covered(reading: Reading) -> bool:
    """Whether the reading stays below the bound, the mean of its boxes being known."""
    return reading.reserved <= upper(predict(reading.cell, FITTED)[1], BOXES)


def _name(cell: Cell) -> str:
    sizes = f"{cell.batch:5d} {cell.accumulate:10d} {cell.amp!s:5s} {cell.imgsz:5d}"
    levers = f"{cell.checkpoint:10s} {cell.val_batch or '':4} {cell.freeze:6d}"
    return f"{cell.model:8s} {sizes} {levers}"


def _print_summary(readings: list[Reading]) -> None:
    both = zip(*(errors(reading) for reading in readings), strict=True)
    for name, signed in zip(PEAKS, both, strict=True):
        absolute = [abs(error) for error in signed]
        print(
            f"{name:9s} n {len(absolute)}  median {median(absolute):.2%}  "
            f"worst {max(absolute):.2%}"
        )


def show(file: Path) -> None:
    """All tables."""
    print_emulated(load(file))
    print_measured(load(MEASURED))


def show_or_read(show: Callable[[Path], None], read: Callable[[Path], None], file: Path) -> None:
    """As the command line says; what reads begins again on a large emulated card."""
    cli = argparse.ArgumentParser()
    cli.add_argument("--readings", type=Path, default=file)
    cli.add_argument("--read", action="store_true", help="add what the file lacks")
    args = cli.parse_args()
    if not args.read:
        show(args.readings)
    elif is_emulated():
        import torch  # noqa: F401  (imported once, before the forks)
        import ultralytics  # noqa: F401

        import sweeper.training.run  # noqa: F401

        read(args.readings)
    else:
        start_again(Machine(cards=(Card(CARD_GIB),), compute="light"))


if __name__ == "__main__":
    show_or_read(show, read, READINGS)
