"""Which levers make room for an effective batch: rungs from none to all, by what they cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from pathlib import Path

from sweeper.errors import SettingsError
from sweeper.memory.verdict import Verdict
from sweeper.plan.cells import Inquiry, Setup
from sweeper.plan.predictions import Plan, PlanCell, predict_cells
from sweeper.trial.levers import LEVERS, places
from sweeper.trial.spec import AMPS

Places = tuple[int, ...]
Way = tuple[Places, Places]  # of the levers that cost time, and of those that do not

# A forward of some layers, or of all, once more. The other levers cost nothing worth naming.
COST_TIME = ("checkpoint",)


def make_ladder(inquiry: Inquiry, cache_dir: Path) -> Plan:
    """The rungs of every model, card and so on, as the cells of a plan.

    Raises:
        SettingsError: Not a model, a value that cannot be predicted, or no batch × accumulate
            that reaches the effective batch.
    """
    wanted = inquiry.effective_batch
    requests = [r for r in inquiry.requests if r.batch * r.accumulate == wanted]
    if not requests:
        raise SettingsError(
            f"plan.ladder reaches an effective batch of {wanted}, but no batch × accumulate that "
            "was named does. Leave them out, or set plan.effective_batch."
        )
    cells = predict_cells(requests, cache_dir)
    frames: dict[Hashable, list[PlanCell]] = defaultdict(list)
    for request in requests:
        frames[frame(request.setup)].append(cells[request])
    rungs = [rung for found in frames.values() for rung in climb(found)]
    return Plan(inquiry, tuple(rungs), {})


def frame(setup: Setup) -> Hashable:
    """What ladders are told apart by: all of a setup but the levers."""
    plain = replace(setup.config, amp=False, checkpoint="none", expandable=False)
    return replace(setup, config=plain)


def climb(cells: Iterable[PlanCell]) -> list[PlanCell]:
    """The rungs of one ladder, in the order of what they cost.

    First, with the whole effective batch at once, the levers that cost nothing, one on top of the
    other; then, with those, ever smaller micro-batches until one fits; then the same with each
    lever that costs time, as long as it fits a larger micro-batch. What needs no less than a rung
    before it is left out.
    """
    at = {(_way(c.setup), c.batch): c for c in cells}
    costs = sorted({cost for (cost, _), _ in at})
    batches = sorted({batch for _, batch in at}, reverse=True)
    chain = _chain({free for (_, free), _ in at})
    rungs: list[PlanCell] = []
    least: dict[int, float] = defaultdict(lambda: math.inf)

    def step(way: Way, batch: int) -> bool:
        """Whether it fits; a rung where it lowers the bound."""
        cell = at.get((way, batch))
        if cell is None or cell.upper_gib >= least[batch]:
            return False
        least[batch] = cell.upper_gib
        rungs.append(cell)
        return cell.verdict is Verdict.FITS

    if any(step((costs[0], free), batches[0]) for free in chain):
        return rungs
    free = _way(rungs[-1].setup)[1] if rungs else chain[-1]
    fits = 0
    for cost in costs:
        fits = next((b for b in batches if b > fits and step((cost, free), b)), fits)
    return rungs


def _way(setup: Setup) -> Way:
    """Where its levers stand among their values."""
    found = dict(zip(LEVERS, places(setup.config), strict=True))
    free = (place for name, place in found.items() if name not in COST_TIME)
    return tuple(found[name] for name in COST_TIME), (AMPS.index(setup.config.amp), *free)


def _chain(found: set[Places]) -> list[Places]:
    """The least of them, then with one lever after the other pulled as far as it goes."""
    now = min(found)
    chain = [now]
    for i in range(len(now)):
        for value in sorted({other[i] for other in found}):
            step = (*now[:i], value, *now[i + 1 :])
            if value > now[i] and step in found:
                now = step
                chain.append(step)
    return chain
