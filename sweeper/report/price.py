"""The price of a lever: the larger batch that it buys, and the time that this costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from sweeper.numbers import change
from sweeper.report.cells import CellSummary
from sweeper.report.effects import without
from sweeper.report.markdown import literal
from sweeper.trial.levers import LEVERS, in_words, pulled
from sweeper.trial.readings import MEASURED
from sweeper.trial.spec import AMP_SUFFIX


@dataclass(frozen=True, slots=True)
class Price:
    """From the largest batch that fits without a lever to the largest that fits with it.

    Attributes:
        lever: Its name and value.
        before: The cell without.
        after: The cell with it; of the same effective batch, or as many micro-batches per step.
    """

    lever: str
    before: CellSummary
    after: CellSummary

    @property
    def time_percent(self) -> float:
        """Change of the time per epoch, which both cells know."""
        return change(self.after.whole_s, self.before.whole_s) or 0.0


def prices(cells: Iterable[CellSummary]) -> list[Price]:
    """For each batch that a lever buys, its value that costs the least time.

    Only where it is known that no batch as large fits without the lever.
    """
    cells = list(cells)
    return [
        found for name in LEVERS for group in _groups(cells, name) for found in _of(name, group)
    ]


def prices_in_words(cells: Iterable[CellSummary]) -> str:
    """``checkpoint=all buys batch 16 instead of 8 for 28 % more time per epoch.``, or empty."""
    found = prices(cells)
    if not found:
        return ""
    sources = {p.after.first.vram_source for p in found} - {MEASURED}
    how = f" (memory {sources.pop()}, time that of the CPU)" if sources else ""
    text = "; ".join(_words(p) for p in found)
    return f"{text}{how}."


def _words(price: Price) -> str:
    before, after = price.before.spec, price.after.spec
    beside = [w for w in in_words(pulled(after)).split() if w != price.lever]
    beside += [price.after.name.removeprefix(after.label).strip()]
    where = literal(" ".join(w for w in (AMP_SUFFIX[after.amp].strip(), *beside) if w))
    more = "more" if price.time_percent >= 0 else "less"
    cost = f"for {abs(price.time_percent):.0f} % {more} time per epoch"
    if price.before.waited or price.after.waited:
        cost = "(the machine was too busy to tell for what time)"
    return f"{price.lever} buys batch {after.batch} instead of {before.batch} {cost}" + (
        f" with {where}" if where else ""
    )


def _groups(cells: list[CellSummary], lever: str) -> list[list[CellSummary]]:
    """Cells that differ in the lever, batch and accumulate only."""
    groups: dict[Hashable, list[CellSummary]] = defaultdict(list)
    for cell in cells:
        groups[without(cell, lever), cell.spec.amp].append(cell)
    return list(groups.values())


def _of(name: str, cells: list[CellSummary]) -> Iterator[Price]:
    bare = [c for c in cells if name not in pulled(c.spec)]
    unfit = min((c.spec.batch for c in bare if c.infeasible), default=None)
    before = _largest(bare)
    if unfit is None or not before or before[0].spec.batch >= unfit:
        return
    cheapest: dict[int, Price] = {}
    for value in LEVERS[name][1:]:
        lever = in_words({name: value})
        after = _largest([c for c in cells if pulled(c.spec).get(name) == value])
        pair = next(_alike(before, after), None)
        if pair is None or pair[1].spec.batch < unfit:
            continue
        price = Price(lever, *pair)
        known = cheapest.setdefault(price.after.spec.batch, price)
        if price.time_percent < known.time_percent:
            cheapest[price.after.spec.batch] = price
    yield from cheapest.values()


def _largest(cells: list[CellSummary]) -> list[CellSummary]:
    """Those with the largest batch of the cells that fit and whose time is known."""
    timed = [c for c in cells if c.whole_s and not c.infeasible]
    batch = max((c.spec.batch for c in timed), default=0)
    return [c for c in timed if c.spec.batch == batch]


def _alike(
    before: list[CellSummary], after: list[CellSummary]
) -> Iterator[tuple[CellSummary, CellSummary]]:
    """Pairs of one effective batch, then those that accumulate alike."""
    pairs = [(a, b) for a in before for b in after]
    yield from (p for p in pairs if p[0].spec.effective_batch == p[1].spec.effective_batch)
    yield from (p for p in pairs if p[0].spec.accumulate == p[1].spec.accumulate)
