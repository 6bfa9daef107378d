"""Which pruner keeps the winner of the full grid, and what it saves.

    python benchmarks/bench_pruner.py RUNS_DIR STUDY

Takes a study without pruning over several seeds (``make bench-pruner`` runs it first) and replays
its recorded epochs through Optuna's pruners, one seed at a time, in the order that a study takes
and in random orders. A curve does not depend on the other trials, so a replay is exact.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import optuna

from sweeper.study.pruner import make_pruner
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome

ORDERS = 200
Curve = tuple[float, ...]


def load(study: Path) -> dict[int, list[Curve]]:
    """mAP@0.5 by epoch of every complete trial, by seed, in the order they ran."""
    curves: dict[int, list[Curve]] = defaultdict(list)
    for folder in TrialFolder.all_of(study / "trials"):
        result = folder.read_result()
        if result is not None and result.outcome is Outcome.COMPLETE:
            curves[folder.read_spec().seed].append(tuple(e.map50 for e in result.epochs))
    return dict(curves)


def replay(curves: list[Curve], pruner: str) -> tuple[float, int]:
    """Best last mAP@0.5 of the trials that ran to the end, and epochs trained."""
    study = optuna.create_study(
        direction="maximize", pruner=make_pruner(pruner, epochs=len(curves[0]))
    )
    best, trained = 0.0, 0
    for curve in curves:
        trial = study.ask()
        for epoch, value in enumerate(curve, 1):
            trained += 1
            trial.report(value, epoch)
            if epoch < len(curve) and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            best = max(best, curve[-1])
            study.tell(trial, curve[-1])
    return best, trained


def noise(curves: dict[int, list[Curve]]) -> float:
    """Median over cells of the standard deviation of the final mAP@0.5 between seeds."""
    finals = zip(*([c[-1] for c in by_seed] for by_seed in curves.values()), strict=True)
    return statistics.median(statistics.stdev(cell) for cell in finals)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = load(Path(sys.argv[1]) / sys.argv[2])
    level = noise(curves)
    cells = len(next(iter(curves.values())))
    print(f"{len(curves)} seeds x {cells} cells; noise between seeds {level:.3f} mAP@0.5")
    print("pruner      order    runs  within noise  worst loss  epochs trained  speed-up")
    rng = random.Random(0)
    for pruner in ("none", "percentile", "median", "asha"):
        for order, repeats in (("study", 1), ("random", ORDERS)):
            losses, shares = [], []
            for by_seed in curves.values():
                full = max(c[-1] for c in by_seed)
                for _ in range(repeats):
                    sample = by_seed if order == "study" else rng.sample(by_seed, len(by_seed))
                    best, trained = replay(sample, pruner)
                    losses.append(full - best)
                    shares.append(trained / sum(map(len, by_seed)))
            kept = sum(loss <= level for loss in losses) / len(losses)
            share = statistics.median(shares)
            print(
                f"{pruner:<11} {order:<7} {len(losses):>5}  {kept:>11.1%}  {max(losses):>10.3f}"
                f"  {share:>13.0%}  {1 / share:>7.2f}x"
            )


if __name__ == "__main__":
    main()
