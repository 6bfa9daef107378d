"""The pruners of ``study.pruner``."""

from __future__ import annotations

from optuna.pruners import (
    BasePruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """The pruner of ``study.pruner`` for trials of ``epochs`` epochs.

    All judge after a third of the run, and not before the second epoch: earlier mAP@0.5 is
    mostly zero. ``benchmarks/bench_pruner.py`` compares them.
    """
    first = max(2, epochs // 3)
    if name == "percentile":  # go on only in the top third of the complete trials
        return PercentilePruner(100 / 3, n_startup_trials=3, n_warmup_steps=first)
    if name == "median":
        return MedianPruner(n_startup_trials=3, n_warmup_steps=first)
    if name == "asha":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
    return NopPruner()
