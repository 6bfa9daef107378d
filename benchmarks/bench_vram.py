"""Compare predicted with published memory: python benchmarks/bench_vram.py [--readings FILE]."""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that a checkout needs no install

from sweeper.memory.config import MemoryConfig  # noqa: E402
from sweeper.memory.predict.architecture import find_architecture  # noqa: E402
from sweeper.memory.predict.cache import DEFAULT_DIR, load_trace  # noqa: E402
from sweeper.memory.predict.calibration import FITTED, Calibration  # noqa: E402
from sweeper.memory.predict.prediction import replay_trace  # noqa: E402
from sweeper.memory.predict.programs import EARLIER_PAIRS  # noqa: E402
from sweeper.numbers import GIB  # noqa: E402

READINGS = Path(__file__).with_name("published_vram.csv")
NBS = 64  # Ultralytics' nominal batch: accumulate = round(nbs / batch)
SPARSE = 10  # objects per image up to which the density of a reading says enough
UNDER = -0.05  # further below the reading than this counts as an under-estimate
GRID = (
    (0.0, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12),  # workspace_gib
    (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08),  # workspace_share
    (2.0, 4.0, 8.0),  # fullest_base
    (2.0, 3.0, 4.0),  # fullest_factor
)


@dataclass(frozen=True)
class Reading:
    """One published training log; `gib` is what its first epoch printed."""

    model: str
    batch: int
    imgsz: int
    amp: bool
    nc: int
    optimizer: str
    density: float  # objects per image
    gib: float
    source: str


def load(file: Path) -> list[Reading]:
    """Readings in GiB: Ultralytics printed units of 1e9 bytes up to 8.3.75, of 2**30 after it."""
    with file.open(newline="") as lines:
        return [_reading(row) for row in csv.DictReader(lines)]


def _reading(row: dict[str, str]) -> Reading:
    batch = int(row["batch"])
    return Reading(
        model=row["model"],
        batch=batch,
        imgsz=int(row["imgsz"]),
        amp=row["amp"] == "True",
        nc=int(row["nc"]),
        optimizer=row["optimizer"],
        density=float(row["instances_max"]) / batch,
        gib=float(row["gpu_mem_gb"]) * (1e9 / GIB if "1e9" in row["unit"] else 1),
        source=row["source"],
    )


@cache
def _replayed(reading: Reading, boxes: float) -> tuple[float, float]:
    """(reserved, activations) of training with padded boxes and no allowance, GiB.

    What the log of a first epoch printed was read before validation.
    """
    trace = load_trace(
        find_architecture(reading.model), reading.nc, reading.amp, ROOT / DEFAULT_DIR
    )
    config = MemoryConfig(
        model=reading.model,
        nc=reading.nc,
        batch=reading.batch,
        accumulates=round(NBS / reading.batch) > 1,
        amp=reading.amp,
        imgsz=reading.imgsz,
        optimizer=reading.optimizer,
        boxes_per_image=reading.density,
    )
    bare = Calibration(0, 0, fullest_base=boxes, fullest_factor=0, pairs=EARLIER_PAIRS)
    training = replay_trace(trace, config, bare).training
    return training.reserved_gib, training.parts["activations"]


def predict(reading: Reading, calibration: Calibration) -> float:
    """`predict_vram(...).training_gib` with other constants and an earlier release's assigner."""
    reserved, activations = _replayed(reading, calibration.fullest(reading.density))
    return reserved + calibration.workspace(activations)


def error(reading: Reading, calibration: Calibration) -> float:
    """Relative error; negative where the prediction is too low."""
    return predict(reading, calibration) / reading.gib - 1


def refit(readings: list[Reading]) -> Calibration:
    """The constants of least mean error: too low counts double, no row more than 50 %."""

    def cost(calibration: Calibration) -> float:
        errors = [error(reading, calibration) for reading in readings]
        return sum(min(abs(e), 0.5) * (2 if e < 0 else 1) for e in errors)

    return min((Calibration(*point) for point in itertools.product(*GRID)), key=cost)


def cross_validate(readings: list[Reading], group: Callable[[Reading], object]) -> list[float]:
    """Error of every reading under constants fitted without its group."""
    fits = {
        key: refit([r for r in readings if group(r) != key])
        for key in dict.fromkeys(map(group, readings))
    }
    return [error(reading, fits[group(reading)]) for reading in readings]


def summary(name: str, errors: Iterable[float]) -> str:
    """One line: number, median and 90th percentile of the error, its sign, under-estimates."""
    signed = list(errors)
    if not signed:
        return f"{name:34s}  none"
    absolute = [abs(e) for e in signed]
    p90 = quantiles(absolute, n=10, method="inclusive")[-1] if len(absolute) > 1 else absolute[0]
    under = sum(e < UNDER for e in signed) / len(signed)
    return (
        f"{name:34s}  n {len(signed):3d}  median {median(absolute):6.1%}  p90 {p90:6.1%}"
        f"  signed median {median(signed):+6.1%}  under-estimates {under:6.1%}"
    )


def main() -> None:
    """Print the table, the summaries and the cross-validation."""
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--readings", type=Path, default=READINGS)
    cli.add_argument(
        "--no-refit", action="store_true", help="skip the cross-validation (about a minute)"
    )
    args = cli.parse_args()
    readings = load(args.readings)
    errors = [error(reading, FITTED) for reading in readings]
    columns = (("model", 9), ("batch", -5), ("imgsz", -5), ("amp", 5), ("nc", -3), ("obj/img", -7))
    head = " ".join(f"{name:{'>' if width < 0 else '<'}{abs(width)}s}" for name, width in columns)
    print(f"{head} {'read':>7s} {'pred':>7s} {'error':>7s}")
    for r, e in zip(readings, errors, strict=True):
        row = f"{r.model:9s} {r.batch:5d} {r.imgsz:5d} {r.amp!s:5s} {r.nc:3d} {r.density:7.1f}"
        print(f"{row} {r.gib:7.3f} {predict(r, FITTED):7.3f} {e:+7.1%}  {r.source}")
    print()
    pairs = list(zip(readings, errors, strict=True))
    print(summary(f"up to {SPARSE} objects/image", (e for r, e in pairs if r.density <= SPARSE)))
    print(summary("all", errors))
    for key in sorted({(r.model, r.amp) for r in readings}):
        print(
            summary(f"  {key[0]}, amp={key[1]}", (e for r, e in pairs if (r.model, r.amp) == key))
        )
    if not args.no_refit:
        _print_refit(readings)


def _print_refit(readings: list[Reading]) -> None:
    print(f"\nin use         {FITTED}\nfitted to all  {refit(readings)}")
    for name, group in (
        ("reading", id),
        ("model", lambda r: r.model),
        ("image size", lambda r: r.imgsz),
    ):
        errors = cross_validate(readings, group)
        sparse = [e for r, e in zip(readings, errors, strict=True) if r.density <= SPARSE]
        print(summary(f"leave one {name} out, sparse", sparse))
        print(summary(f"leave one {name} out, all", errors))


if __name__ == "__main__":
    main()
