"""The smallest card on which a run of several epochs survives, found on emulated ones.

    python benchmarks/bench_smallest.py [--read]

Batches of varying content leave holes in torch's cache: what is reserved grows epoch by epoch. A
smaller card makes the allocator return what it cached and go on, so that what a run takes where
there is room is not what it needs. Emulated cards lack cuDNN: the prediction is mechanism alone.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # so that a checkout needs no install

from bench_emulated import CARD_GIB, MECHANISM, Silent, in_fork, show_or_read  # noqa: E402

from sweeper.emulator.machine import Machine  # noqa: E402
from sweeper.memory.config import MemoryConfig  # noqa: E402
from sweeper.memory.predict.architecture import find_architecture  # noqa: E402
from sweeper.memory.predict.cache import DEFAULT_DIR, load_trace  # noqa: E402
from sweeper.memory.predict.peaks import replay_trace  # noqa: E402
from sweeper.numbers import GIB  # noqa: E402

READINGS = Path(__file__).with_name("smallest_card.csv")
EPOCHS = 4
IMAGES, VALIDATION = 80, 32
MEAN_BOXES, SPREAD, MOST_BOXES = 6.0, 0.8, 60  # boxes per image before mosaic, lognormal
SIZES = ("allocated", "first", "whole", "survived", "failed")
CLOSE = 0.02  # of the card's size: where the bisection ends
# model, batch, imgsz
TRAININGS = (("yolo11n", 8, 320), ("yolo11m", 8, 224))


@dataclass(frozen=True, slots=True)
class Case:
    """What is trained, and under which allocator."""

    model: str
    batch: int
    imgsz: int
    amp: bool
    allocator: str


@dataclass(frozen=True, slots=True)
class Smallest:
    """What was found, bytes of torch's allocator; the context comes on top.

    Attributes:
        case: What was trained.
        allocated: Peak of what was in use, where there is room.
        first: Peak of what was reserved in the first epoch, where there is room.
        whole: The same over all epochs.
        survived: The least that the allocator had to be allowed.
        failed: The most with which the run ran out of memory.
        boxes: Mean boxes per image, after mosaic.
        fullest: Boxes of the fullest image, found in the labels.
    """

    case: Case
    allocated: int
    first: int
    whole: int
    survived: int
    failed: int
    boxes: float
    fullest: int

    @property
    def predicted(self) -> int:
        """Reserved in the whole run, by mechanism alone."""
        case = self.case
        config = MemoryConfig(
            model=f"{case.model}.yaml",
            nc=1,
            batch=case.batch,
            accumulates=False,
            amp=case.amp,
            imgsz=case.imgsz,
            optimizer="AdamW",
            boxes_per_image=self.boxes,
            images=IMAGES * EPOCHS,
            fullest_image=self.fullest,
            expandable=case.allocator == "expandable",
        )
        trace = load_trace(find_architecture(config.model), 1, case.amp, ROOT / DEFAULT_DIR)
        return round(replay_trace(trace, config, MECHANISM).top(CARD_GIB, 0).reserved_gib * GIB)


def cases() -> list[Case]:
    """Every training with AMP and without, and the smaller ones under growing segments."""
    found = [Case(*training, amp, "default") for training in TRAININGS for amp in (False, True)]
    return [*found, *(replace(case, allocator="expandable") for case in found[:2])]


def write_data(folder: Path) -> Path:
    """Grey images whose numbers of boxes vary as those of real data sets do."""
    from PIL import Image

    rng = random.Random(0)
    for split, count in (("train", IMAGES), ("val", VALIDATION)):
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (320, 320), (number, 114, 114)).save(images / f"{number}.png")
            boxes = rng.lognormvariate(0, SPREAD) * MEAN_BOXES
            lines = [
                f"0 {rng.uniform(0.1, 0.9):.3f} {rng.uniform(0.1, 0.9):.3f} 0.15 0.15"
                for _ in range(min(MOST_BOXES, round(boxes)))
            ]
            (labels / f"{number}.txt").write_text("\n".join(lines))
    file = folder / "data.yaml"
    file.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {{0: thing}}\n")
    return file


def train(case: Case, allowed: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Run it as a study does, with so many bytes for the allocator."""
    from sweeper.config.compose import compose_settings
    from sweeper.executors.devices import find_devices
    from sweeper.memory.cards import find_budget
    from sweeper.study.specs import SpecBuilder
    from sweeper.training.device import GROWTH_GIB
    from sweeper.training.run import run_trial
    from sweeper.trial.folder import TrialFolder

    devices = find_devices(1)
    settings = compose_settings(
        [
            *("data=custom", f"data.yaml={write_data(folder / 'data')}", f"model={case.model}"),
            *(f"batch={case.batch}", f"train.imgsz={case.imgsz}", f"amp={case.amp}".lower()),
            *("accumulate=1", f"train.epochs={epochs}", "train.close_mosaic=0"),
            *("train.workers=0", f"memory.allocator={case.allocator}", f"runs_dir={folder}"),
        ]
    )
    builder = SpecBuilder("smallest", find_budget(settings.vram, devices.gpu), threads=1)
    spec = builder.build(settings, "")
    context_gib = Machine().context_mib / 2**10 + GROWTH_GIB
    limit_gib = allowed / GIB + context_gib
    spec = replace(spec, context_gib=context_gib, limit_gib=limit_gib)
    trial = TrialFolder(folder / "trial")
    trial.prepare(spec)
    facts = run_trial(spec, trial, devices.names[0], Silent())
    if facts.ending not in ("complete", "out_of_memory") or facts.memory is None:
        raise RuntimeError(f"{case}: {facts.ending} {facts.message}")
    return {
        "survived": facts.ending == "complete",
        "allocated": round((facts.memory.allocated_gib or 0) * GIB),
        "reserved": round((facts.memory.reserved_gib or 0) * GIB),
        "boxes": spec.boxes_per_image,
        "fullest": spec.fullest_image,
    }


def find(case: Case) -> Smallest:
    """Bisect what the allocator is allowed."""

    def run(allowed: int, epochs: int = EPOCHS) -> dict[str, Any]:
        found = in_fork(partial(train, case, allowed, epochs))
        print(case, f"{allowed / GIB:.3f} GiB", found, flush=True)
        return found

    room = round(CARD_GIB / 2 * GIB)
    first, whole = run(room, epochs=1), run(room)
    failed, survived = whole["allocated"] - 1, whole["reserved"]
    while not run(survived)["survived"]:
        failed, survived = survived, round(1.05 * survived)
    while survived - failed > CLOSE * survived:
        middle = (survived + failed) // 2
        if run(middle)["survived"]:
            survived = middle
        else:
            failed = middle
    peaks = whole["allocated"], first["reserved"], whole["reserved"]
    return Smallest(case, *peaks, survived, failed, whole["boxes"], whole["fullest"])


def load(file: Path) -> Iterator[Smallest]:
    """The readings of a file."""
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            amp = row["amp"] == "True"
            case = Case(row["model"], int(row["batch"]), int(row["imgsz"]), amp, row["allocator"])
            sizes = (int(row[name]) for name in SIZES)
            yield Smallest(case, *sizes, boxes=float(row["boxes"]), fullest=int(row["fullest"]))


def read(file: Path) -> None:
    """Find what the file lacks."""
    known = [found.case for found in load(file)] if file.exists() else []
    versions = {name: version(name) for name in ("torch", "ultralytics")}
    names = [field.name for field in fields(Case)] + [f.name for f in fields(Smallest)][1:]
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, [*names, *versions], lineterminator="\n")
        if not known:
            writer.writeheader()
        for case in cases():
            if case not in known:
                row = asdict(find(case))
                writer.writerow({**row.pop("case"), **row, **versions})
                lines.flush()


def show(file: Path) -> None:
    """The table: GiB, and the smallest card beside the prediction."""
    readings = list(load(file))
    print(f"Emulated, {EPOCHS} epochs, torch's allocator without the context, GiB")
    print("model    batch imgsz amp   allocator   in use  epoch 1   whole  smallest  predicted")
    for r in readings:
        case = r.case
        sizes = (r.allocated, r.first, r.whole, r.survived, r.predicted)
        gib = "  ".join(f"{size / GIB:7.3f}" for size in sizes)
        print(
            f"{case.model:8s} {case.batch:5d} {case.imgsz:5d} {case.amp!s:5s} "
            f"{case.allocator:10s} {gib}  {r.survived / r.predicted - 1:+6.1%}"
        )
    for name in ("default", "expandable"):
        some = [r for r in readings if r.case.allocator == name]
        for text, share in (
            ("whole run above epoch 1", [r.whole / r.first - 1 for r in some]),
            ("whole run above the prediction", [r.whole / r.predicted - 1 for r in some]),
            ("smallest card above the prediction", [r.survived / r.predicted - 1 for r in some]),
        ):
            if share:
                spread = f"{min(share):+.1%} to {max(share):+.1%}"
                print(f"{name:10s} {text:34s} median {median(share):+.1%}, {spread}")


if __name__ == "__main__":
    show_or_read(show, read, READINGS)
