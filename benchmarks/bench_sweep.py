"""The same decision by a plain Hydra grid over the whole run and by a study, side by side.

    python benchmarks/bench_sweep.py [EPOCHS]

(a) Hydra's BasicSweeper around YOLO(...).train(...), every cell to the end of the run, then the
best; (b) sweeper. The same data, seed and hyper-parameters: those of experiment=demo. (a) knows no
budget; it is given only the cells that fit. Both answers are looked up in the grid: what the
chosen cell reaches at the end, and how long its run takes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper import load_study
from sweeper.config.compose import compose_settings
from sweeper.training.dataset import prepare_dataset
from sweeper.trial.folder import TrialFolder

ROOT = Path(__file__).parent.parent
BATCHES, ACCUMULATES = (2, 8), (1, 4)  # the cells of the demo that fit its budget
SEED_NOISE = 0.007  # standard deviation of mAP@0.5 at the end of a run, benchmarks/truth.json

Cell = tuple[int, int]


@dataclass(frozen=True)
class Ended:
    """A cell at the end of its whole run."""

    cell: Cell
    map50: float
    seconds: float
    epochs_s: float

    @property
    def beside_s(self) -> float:
        """What Ultralytics takes beside its epochs: set-up, and a last validation of best.pt."""
        return self.seconds - self.epochs_s


@dataclass(frozen=True)
class Study:
    """What the study cost and chose.

    Attributes:
        seconds: Wall time of the command.
        start_s: Of it, until the first trial trains.
        begin_s: Median per trial that starts, beside Ultralytics' epochs.
        continue_s: The same for a trial that goes on from a checkpoint.
        between_s: What the study itself takes per trial.
        end_s: What it takes after the last trial, for the report above all.
        chosen: The recommended cell.
    """

    seconds: float
    start_s: float
    begin_s: float
    continue_s: float
    between_s: float
    end_s: float
    chosen: Cell


def plain_grid(folder: Path, arguments: dict[str, Any]) -> tuple[float, list[Ended]]:
    """(a): its wall time, and the cells it trained."""
    results = folder / "grid.jsonl"
    env = os.environ | {
        "NAIVE_ARGUMENTS": json.dumps(arguments | {"project": str(folder / "grid")}),
        "NAIVE_RESULTS": str(results),
    }
    command = [sys.executable, str(ROOT / "benchmarks/naive_app.py"), "-m"]
    command += [f"hydra.sweep.dir={folder}/h", "+amp=false"]
    command += [f"+batch={','.join(map(str, BATCHES))}"]
    command += [f"+accumulate={','.join(map(str, ACCUMULATES))}"]
    started = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    seconds = time.perf_counter() - started
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return seconds, [_ended(row) for row in rows]


def _ended(row: dict[str, Any]) -> Ended:
    return Ended((*row["cell"][:2],), row["map50"], row["seconds"], row["epochs_s"])


def study(folder: Path, epochs: int) -> Study:
    """(b)."""
    command = [sys.executable, "-m", "sweeper", "-m", "experiment=demo", f"train.epochs={epochs}"]
    began, started = time.time(), time.perf_counter()
    subprocess.run(
        [*command, f"runs_dir={folder}", "study.name=ours"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    seconds = time.perf_counter() - started
    begin, going_on, firsts, trained_s, last = [], [], [], 0.0, began
    for trial in TrialFolder.all_of(folder / "ours/trials"):
        spec, result = trial.read_spec(), trial.read_result()
        if result is None or not result.iterations:
            continue
        epochs_s = [epoch.epoch_s or 0.0 for epoch in result.epochs]
        first_s = spec.spent_s or result.wall_time_s  # two rungs: at most two parts
        begin.append(first_s - sum(epochs_s[: spec.trained or None]))
        if spec.trained:
            going_on.append(result.wall_time_s - first_s - sum(epochs_s[spec.trained :]))
        firsts.append(result.epochs[0].time - epochs_s[0])
        trained_s += result.wall_time_s
        last = max(last, result.epochs[-1].time)
    start_s = min(firsts) - began
    end_s = began + seconds - last
    # The set-up of the first trial lies within start_s, the ending of the last within end_s.
    within_s = trained_s - statistics.median(begin)
    between_s = (seconds - start_s - within_s - end_s) / len(begin)
    best = load_study("ours", runs_dir=str(folder)).best
    assert best is not None, "the study recommends nothing"
    medians = statistics.median(begin), statistics.median(going_on)
    return Study(seconds, start_s, *medians, between_s, end_s, (best["batch"], best["accumulate"]))


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    settings = compose_settings(["experiment=demo", f"train.epochs={epochs}"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = prepare_dataset(settings.data, folder)
        arguments: dict[str, Any] = {
            "data": str(dataset.yaml),
            "imgsz": settings.train.imgsz,
            "epochs": epochs,
            "optimizer": settings.train.optimizer,
            "seed": settings.seed,
            "device": "cpu",
            "verbose": False,
            **settings.train_args(),
        }
        grid_s, ended = plain_grid(folder, arguments)
        found = study(folder, epochs)
    by_cell = {e.cell: e for e in ended}
    best = max(ended, key=lambda e: e.map50)
    print(f"{len(ended)} cells that fit, {epochs} epochs, one run of each, in turns")
    print(f"{'':<20}{'wall s':>8}{'ratio':>7}  cell, mAP@0.5 at the end, whole run")
    for name, seconds, cell in (
        ("(a) plain grid", grid_s, best.cell),
        ("(b) sweeper", found.seconds, found.chosen),
    ):
        of = by_cell[cell]
        answer = f"b{cell[0]}×a{cell[1]}, {of.map50:.3f}, {of.seconds:.0f} s"
        print(f"{name:<20}{seconds:>8.0f}{grid_s / seconds:>6.2f}x  {answer}")
    # The first training of (a) also imports torch and scans the labels.
    plain_s = statistics.median(e.beside_s for e in ended[1:])
    print(f"(a): beside Ultralytics' epochs, median of the later trainings: {plain_s:.2f} s")
    print(
        f"(b): start {found.start_s:.1f} s; beside Ultralytics' epochs, medians: a trial that "
        f"starts {found.begin_s:.2f} s, one that goes on {found.continue_s:.2f} s; the study "
        f"{found.between_s:.2f} s per trial; end {found.end_s:.1f} s"
    )
    regret = best.map50 - by_cell[found.chosen].map50
    verdict = "equal quality" if regret <= 2 * SEED_NOISE else "WORSE than the noise explains"
    print(f"(b) against (a): {-100 * regret:+.1f} points, noise {100 * SEED_NOISE:.1f}: {verdict}")


if __name__ == "__main__":
    main()
