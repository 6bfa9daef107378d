"""Bracket the largest batch that trains in a few trainings."""

from __future__ import annotations

from collections.abc import Callable

TRAININGS = 7
MOST = 2  # times the first batch: images and labels of a batch take host memory, too
FEW = 8  # below which a prediction of next to nothing would keep the search


def bracket(trains: Callable[[int], bool], first: int, trainings: int = TRAININGS) -> None:
    """Try batches until one trains and the next larger one does not, or the trainings are used up.

    From the first one away in steps that double, an eighth of it at first, then by halves.

    Args:
        trains: Whether a batch does.
        first: Where to begin.
        trainings: How many batches are tried at most.
    """
    low, high = 0, max(MOST * first, FEW) + 1
    batch, step, failed = first, max(1, first // 8), False
    for _ in range(trainings):
        if trains(batch):
            low = batch
        else:
            high, failed = batch, True
        if high - low <= 1:
            return
        if low and failed:
            batch = (low + high) // 2
        else:
            batch = max(1, high - step) if failed else min(low + step, high - 1)
        step *= 2
