"""Is the study faster than what one would write? Side by side in one run.

    python benchmarks/bench_sweep.py [EPOCHS]

(a) Hydra's BasicSweeper around YOLO(...).train(...) in one process, (b) one subprocess per cell,
(c) sweeper without pruning, (d) sweeper as it is. The same grid, data, seeds and hyper-parameters:
those of experiment=demo. (a) and (b) know no budget, so they train the cells that do not fit, too.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from sweeper.config.compose import compose_settings
from sweeper.training.dataset import prepare_dataset
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome

ROOT = Path(__file__).parent.parent
BATCHES, ACCUMULATES, AMPS = (2, 4, 8, 16), (1, 4), (False, True)
NOISE = 0.036  # standard deviation of mAP@0.5 between seeds, over the whole run


@dataclass(frozen=True)
class Run:
    """One way through the grid and its best cell that fits.

    Attributes:
        seconds: Wall time of the whole.
        start_s: Of it, once, before the first trial trains.
        overhead_s: Of the rest, per trained trial, what is not Ultralytics' epochs.
    """

    name: str
    seconds: float
    start_s: float
    overhead_s: float
    best: tuple[object, ...]
    map50: float


def naive(name: str, folder: Path, arguments: dict[str, object], one_by_one: bool) -> Run:
    """(a), or with ``one_by_one`` (b)."""
    results = folder / f"{name}.jsonl"
    env = os.environ | {
        "NAIVE_ARGUMENTS": json.dumps(arguments | {"project": str(folder / name)}),
        "NAIVE_RESULTS": str(results),
    }
    app = [sys.executable, str(ROOT / "benchmarks/naive_app.py")]
    cells = list(product(BATCHES, ACCUMULATES, AMPS))
    if one_by_one:
        commands = [
            [*app, f"hydra.run.dir={folder}/h", f"+batch={b}", f"+accumulate={a}", f"+amp={amp}"]
            for b, a, amp in cells
        ]
    else:
        sweep = ["+batch=2,4,8,16", "+accumulate=1,4", "+amp=false,true"]
        commands = [[*app, "-m", f"hydra.sweep.dir={folder}/h", *sweep]]
    started = time.perf_counter()
    for command in commands:
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    seconds = time.perf_counter() - started
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    epochs_s = sum(_epoch_seconds(p) for p in (folder / name).rglob("results.csv"))
    fitting = [r for r in rows if r["cell"][0] < 16]
    best = max(fitting, key=lambda r: r["map50"])
    overhead_s = (seconds - epochs_s) / len(rows)
    return Run(name, seconds, 0, overhead_s, tuple(best["cell"]), best["map50"])


def ours(name: str, study: str, folder: Path, epochs: int, *more: str) -> Run:
    """(c) and (d)."""
    command = [sys.executable, "-m", "sweeper", "-m", "experiment=demo", f"train.epochs={epochs}"]
    began, started = time.time(), time.perf_counter()
    subprocess.run(
        [*command, f"runs_dir={folder}", f"study.name={study}", *more],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    seconds = time.perf_counter() - started
    trained, epochs_s, start_s = [], 0.0, seconds
    for trial in TrialFolder.all_of(folder / study / "trials"):
        result = trial.read_result()
        if result is not None and result.iterations:
            epochs_s += _epoch_seconds(trial.path / "results.csv")
            start_s = min(start_s, (trial.path / "spec.json").stat().st_mtime - began)
            trained.append((result, trial.read_spec()))
    best, spec = max(
        (t for t in trained if t[0].outcome is Outcome.COMPLETE), key=lambda t: t[0].map50 or 0.0
    )
    cell = (spec.batch, spec.accumulate, spec.amp)
    overhead_s = (seconds - start_s - epochs_s) / len(trained)
    return Run(name, seconds, start_s, overhead_s, cell, best.map50 or 0.0)


def _epoch_seconds(path: Path) -> float:
    """Seconds from the start of training to the end of the last epoch, as Ultralytics counts."""
    with path.open() as file:
        return float(list(csv.DictReader(file))[-1]["time"])


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    settings = compose_settings(["experiment=demo", f"train.epochs={epochs}"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = prepare_dataset(settings.data, folder)
        arguments: dict[str, object] = {
            "data": str(dataset.yaml),
            "imgsz": settings.train.imgsz,
            "epochs": epochs,
            "optimizer": settings.train.optimizer,
            "seed": settings.seed,
            "device": "cpu",
            "verbose": False,
            **settings.train_args(),
        }
        runs = [
            naive("(a) BasicSweeper", folder, arguments, one_by_one=False),
            naive("(b) subprocess per cell", folder, arguments, one_by_one=True),
            ours("(c) sweeper, no pruning", "c", folder, epochs, "study.rungs=[]"),
            ours("(d) sweeper", "d", folder, epochs),
        ]
    print(f"{len(BATCHES) * len(ACCUMULATES) * len(AMPS)} cells, {epochs} epochs, one run of each")
    head = f"{'wall s':>8}{'vs (a)':>8}{'start s':>9}{'overhead s/trial':>18}"
    print(f"{'':<26}{head}  best cell that fits")
    for run in runs:
        ratio = runs[0].seconds / run.seconds
        print(
            f"{run.name:<26}{run.seconds:>8.0f}{ratio:>7.2f}x{run.start_s:>9.1f}{run.overhead_s:>18.2f}"
            f"  batch, accumulate, amp {run.best}: {run.map50:.3f}"
        )
    lead = runs[2].map50 - runs[3].map50
    verdict = "within" if lead <= NOISE else "BEYOND"
    print(f"(d) against (c): {lead:+.3f} mAP@0.5, {verdict} the noise of {NOISE}")


if __name__ == "__main__":
    main()
