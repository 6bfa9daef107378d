"""Cells that take the same optimizer steps: one of them is trained for all.

How well a cell learns depends mainly on its effective batch and on amp; how it divides the
effective batch into micro-batches decides memory and speed. The largest micro-batch that fits
ends first, and BatchNorm sees most of it. Levers that save memory for time change neither: a
cell without stands for those with, unless they buy a larger micro-batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from sweeper.study.bounds import predicted_unfit, proving_order
from sweeper.study.space import Cell
from sweeper.trial.json_text import to_json
from sweeper.trial.levers import places
from sweeper.trial.record import Outcome
from sweeper.trial.spec import TrialSpec

DECIDING = {Outcome.COMPLETE, Outcome.PRUNED}  # for the cells that share the trial's steps
Way = tuple[int, tuple[int, ...]]  # batch, and the places of the levers' values
_OTHER = 0.5  # steps of log2(effective batch) that another value of any other key is worth


class Sharing:
    """Which trials stand for the cells that take the same steps in smaller micro-batches."""

    def __init__(self, specs: Mapping[Cell, TrialSpec]) -> None:
        """No trial stands for any cell yet; cells that are not among ``specs`` share nothing."""
        self._steps = {cell: _steps(spec) for cell, spec in specs.items()}
        self._cells: dict[str, list[Cell]] = defaultdict(list)
        for cell, steps in self._steps.items():
            self._cells[steps].append(cell)
        for cells in self._cells.values():
            cells.sort(key=lambda c: -specs[c].batch)
        self._way = {cell: _way(spec) for cell, spec in specs.items()}
        self._leading: dict[str, set[Way]] = defaultdict(set)

    def lead(self, spec: TrialSpec) -> None:
        """From now on this trial stands for the slower cells that share its steps."""
        self._leading[_steps(spec)].add(_way(spec))

    def is_led(self, cell: Cell) -> bool:
        """Whether a trial stands for the cell."""
        leading = self._leading.get(self._steps.get(cell, ""), ())
        return any(_is_slower(self._way[cell], way) for way in leading)

    def give_up(self, spec: TrialSpec) -> None:
        """The trial has failed: another cell is to be trained."""
        self._leading[_steps(spec)].discard(_way(spec))

    def led_by(self, spec: TrialSpec) -> list[Cell]:
        """The cells that a trial stands for, the largest batch first."""
        way = _way(spec)
        return [c for c in self._cells.get(_steps(spec), ()) if _is_slower(self._way[c], way)]


def _way(spec: TrialSpec) -> Way:
    """How a spec takes its steps."""
    return spec.batch, places(spec)


def _is_slower(way: Way, other: Way) -> bool:
    """Whether it takes smaller micro-batches or more levers, and in nothing the contrary."""
    (batch, levers), (other_batch, others) = way, other
    no_sooner = batch <= other_batch and all(a >= b for a, b in zip(levers, others, strict=True))
    return no_sooner and way != other


def spread_order(specs: Sequence[TrialSpec], count: int) -> list[int]:
    """Indices of the specs, such that any number of the first ``count`` covers the space.

    Each is as far as can be from those before, in log2(effective batch) and in the number of
    other keys that differ; of those that share their optimizer steps the largest batch that fits
    comes first, or where all are tight the smallest.
    """
    rest = proving_order(specs, measured=False)
    fitting = (i for i in rest if not predicted_unfit(specs[i]))
    largest: dict[str, int] = {}
    for i in fitting:
        largest.setdefault(_steps(specs[i]), i)
    first = list(islice(_farthest_first(specs, list(largest.values())), count))
    return [*first, *(i for i in rest if i not in first)]


def _farthest_first(specs: Sequence[TrialSpec], left: list[int]) -> Iterator[int]:
    places = {i: (math.log2(specs[i].effective_batch), asdict(_alike(specs[i]))) for i in left}
    by_effective = sorted(left, key=lambda i: (places[i][0], i))
    distance = dict.fromkeys(left, math.inf)
    chosen = by_effective[len(left) // 2] if left else None
    while chosen is not None:
        yield chosen
        del distance[chosen]
        for i in distance:
            distance[i] = min(distance[i], _distance(places[i], places[chosen]))
        chosen = max(distance, key=lambda i: distance[i], default=None)


def _distance(one: tuple[float, dict[str, Any]], other: tuple[float, dict[str, Any]]) -> float:
    differing = [key for key, value in one[1].items() if value != other[1][key]]
    return abs(one[0] - other[0]) + _OTHER * len(differing)


def _steps(spec: TrialSpec) -> str:
    """Equal for cells that take the same optimizer steps."""
    return f"{spec.effective_batch} {to_json(_alike(spec))}"


def _alike(spec: TrialSpec) -> TrialSpec:
    """The spec without what the micro-batch changes, and levers that leave the steps alone."""
    plain = replace(spec.from_the_start(), number=0, strategy="", predicted=None, overrides=())
    plain = replace(plain, checkpoint="none", val_batch=None, alloc_conf="")
    return replace(plain, batch=1, accumulate=1, images=None, fullest_image=None)
