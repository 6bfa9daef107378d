"""What one change of the memory strategy is worth: pairs of cells that share all else."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations

from sweeper.numbers import change, gain
from sweeper.report.cells import CellSummary
from sweeper.report.pareto import End
from sweeper.trial.levers import LEVERS, pulled
from sweeper.trial.spec import AMP_WORDS, AMPS, Amp

Pair = tuple[CellSummary, CellSummary]


@dataclass(frozen=True, slots=True)
class Effect:
    """From one cell to another: percent of peak and time, points of mAP@0.5; None is unknown."""

    peak_percent: float | None
    map50_points: float | None
    time_percent: float | None


@dataclass(frozen=True, slots=True)
class StrategyChange:
    """One change of the memory strategy, and every pair of cells that shows its effect."""

    title: str
    pairs: list[Pair]

    def effects(self, end: End) -> list[Effect]:
        """One per pair of which peak and mAP are known."""
        found = (effect(before, after, end) for before, after in self.pairs)
        return [e for e in found if None not in (e.peak_percent, e.map50_points)]


def effect(before: CellSummary, after: CellSummary, end: End) -> Effect:
    """What changes from one cell to the other, over the whole run.

    Memory only between peaks of one source, time only where the machine was not busy; ``end`` is
    mAP@0.5 of each at the end, as cells that were trained for unlike numbers of epochs compare in
    nothing else.
    """
    same_source = before.first.vram_source == after.first.vram_source
    busy = before.waited or after.waited
    return Effect(
        change(after.need_gib, before.need_gib) if same_source else None,
        gain(end(after), end(before)),
        None if busy else change(after.whole_s, before.whole_s),
    )


def strategy_changes(cells: Iterable[CellSummary]) -> list[StrategyChange]:
    """The changes that the study has pairs of completed cells for."""
    known = [c for c in cells if c.fits]
    changes = [
        StrategyChange(
            "accumulate more on a smaller batch, same effective batch", _same_product(known)
        ),
        StrategyChange("accumulate more on the same batch", _same_batch(known)),
        *(
            StrategyChange(f"amp {AMP_WORDS[amp]} instead of off", _amp(known, amp))
            for amp in AMPS[1:]
        ),
        *(
            StrategyChange(f"{name}={value} instead of {least}", _lever(known, name, value))
            for name, (least, *others) in LEVERS.items()
            for value in others
        ),
        StrategyChange("the next larger batch alone", _larger_batch(known)),
    ]
    return [found for found in changes if found.pairs]


def summarise(values: list[float | None]) -> tuple[float, float, float] | None:
    """Median, lowest and highest of what is known."""
    known = [v for v in values if v is not None]
    return (statistics.median(known), min(known), max(known)) if known else None


def _same_product(cells: list[CellSummary]) -> list[Pair]:
    def key(cell: CellSummary) -> Hashable:
        return cell.setting, cell.spec.amp, cell.spec.batch * cell.spec.accumulate

    return list(_from_the_first(_groups(cells, key)))


def _same_batch(cells: list[CellSummary]) -> list[Pair]:
    def key(cell: CellSummary) -> Hashable:
        return cell.setting, cell.spec.amp, cell.spec.batch

    return list(_from_the_first(_groups(cells, key)))


def _amp(cells: list[CellSummary], amp: Amp) -> list[Pair]:
    def key(cell: CellSummary) -> Hashable:
        return cell.setting, cell.spec.batch, cell.spec.accumulate

    groups = _groups(cells, key)
    return [
        (off, on)
        for off, *rest in groups
        for on in rest
        if not off.spec.amp and on.spec.amp == amp
    ]


def _lever(cells: list[CellSummary], name: str, value: object) -> list[Pair]:
    """From the lever left alone to this value of it."""

    def key(cell: CellSummary) -> Hashable:
        spec = cell.spec
        return without(cell, name), spec.amp, spec.batch, spec.accumulate

    pairs = (pair for group in _groups(cells, key) for pair in permutations(group, 2))
    return [(a, b) for a, b in pairs if _pulls(a, name) is None and _pulls(b, name) == value]


def without(cell: CellSummary, lever: str) -> Hashable:
    """All but a lever that a cell shares with those of another batch, accumulate and amp."""
    return tuple(part for part in cell.setting if part != (lever, _pulls(cell, lever)))


def _pulls(cell: CellSummary, lever: str) -> object:
    """The value of a lever; None where it is left alone."""
    return pulled(cell.spec).get(lever)


def _larger_batch(cells: list[CellSummary]) -> list[Pair]:
    def key(cell: CellSummary) -> Hashable:
        return cell.setting, cell.spec.amp, cell.spec.accumulate

    return [pair for group in _groups(cells, key) for pair in pairwise(group)]


def _groups(
    cells: list[CellSummary], key: Callable[[CellSummary], Hashable]
) -> list[list[CellSummary]]:
    """Cells by key; within a group less accumulate, the smaller batch and amp off come first."""
    groups: dict[Hashable, list[CellSummary]] = defaultdict(list)
    for cell in cells:
        groups[key(cell)].append(cell)
    order = [sorted(g, key=_order) for g in groups.values()]
    return [g for g in order if len(g) > 1]


def _order(cell: CellSummary) -> tuple[int, int, int]:
    return cell.spec.accumulate, cell.spec.batch, AMPS.index(cell.spec.amp)


def _from_the_first(groups: list[list[CellSummary]]) -> Iterator[Pair]:
    """From each group's cell with the least accumulate to every other one."""
    for first, *rest in groups:
        for cell in rest:
            yield first, cell
