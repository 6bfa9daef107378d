"""Predicted peaks of a plan's cells, their bounds, and the largest batch that fits each setup."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sweeper.memory.budget import violation
from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.bound import upper
from sweeper.memory.predict.parallel import group_by_trace, in_children
from sweeper.memory.predict.peaks import Peaks, predict_peaks
from sweeper.memory.verdict import Verdict, verdict
from sweeper.plan.cells import Inquiry, Request, Setup, accumulate_for


@dataclass(frozen=True, slots=True)
class PlanCell(Request):
    """A cell with its simulated peak; ``parts`` sum to it, the CUDA context included.

    It stays below ``upper_gib`` with a probability of 95 %.
    """

    peak_gib: float
    upper_gib: float
    parts: dict[str, float]

    @property
    def verdict(self) -> Verdict:
        """Whether peak and bound keep to the budget."""
        return verdict(self.peak_gib, self.upper_gib, self.setup.budget.limit_gib)

    @property
    def excess_gib(self) -> float:
        """Peak minus budget."""
        return violation(self.peak_gib, self.setup.budget.limit_gib)


@dataclass(frozen=True, slots=True)
class Found:
    """The largest batches of a setup, each None where nothing fits.

    Attributes:
        exact: That fits, of those that divide the effective batch, which it reaches.
        largest: That fits; like the others no larger than the training split, where that is known.
        tight: Whose peak keeps to the budget: what is larger than the former is tight.
    """

    exact: PlanCell | None
    largest: PlanCell | None
    tight: PlanCell | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer: every cell of what was asked, and what was found for each setup."""

    inquiry: Inquiry
    cells: tuple[PlanCell, ...]
    found: dict[Setup, Found]

    @property
    def setups(self) -> tuple[Setup, ...]:
        """Those of its cells."""
        return tuple(dict.fromkeys(cell.setup for cell in self.cells))


@dataclass(frozen=True, slots=True)
class Task:
    """What a child does: cells to predict, and setups whose largest batches it searches."""

    requests: Sequence[Request] = ()
    setups: Sequence[Setup] = ()


def make_plan(inquiry: Inquiry, cache_dir: Path) -> Plan:
    """Predict every cell and search the largest batch of every setup.

    Raises:
        SettingsError: Not a model, or a value that cannot be predicted.
    """
    tasks = [_tasks(parts) for parts in group_by_trace(inquiry.requests, lambda r: r.config)]
    ask = partial(_answer, wanted=inquiry.effective_batch, cache_dir=cache_dir)
    cells: dict[Request, PlanCell] = {}
    found: dict[Setup, Found] = {}
    for some_cells, some_found in in_children(ask, tasks):
        cells |= some_cells
        found |= some_found
    setups = dict.fromkeys(request.setup for request in inquiry.requests)
    return Plan(
        inquiry,
        tuple(cells[request] for request in inquiry.requests),
        {setup: found[setup] for setup in setups},
    )


def predict_cells(requests: Sequence[Request], cache_dir: Path) -> dict[Request, PlanCell]:
    """Every request with its simulated peak.

    Raises:
        SettingsError: Not a model, or a value that cannot be predicted.
    """
    groups = group_by_trace(requests, lambda request: request.config)
    found: dict[Request, PlanCell] = {}
    for cells in in_children(partial(_predict, cache_dir=cache_dir), groups):
        found |= cells
    return found


def _predict(requests: list[Request], cache_dir: Path) -> dict[Request, PlanCell]:
    predictor = Predictor(cache_dir)
    return {request: predictor.cell(request) for request in requests}


def _tasks(parts: list[list[Request]]) -> list[Task]:
    """The searches follow the first cells, whose trace is there by then."""
    setups = dict.fromkeys(request.setup for part in parts for request in part)
    alike: defaultdict[MemoryConfig, list[Setup]] = defaultdict(list)
    for setup in setups:
        alike[setup.config].append(setup)
    first, *others = [Task(requests=part) for part in parts]
    return [first, *(Task(setups=some) for some in alike.values()), *others]


def _answer(
    task: Task, wanted: int, cache_dir: Path
) -> tuple[dict[Request, PlanCell], dict[Setup, Found]]:
    predictor = Predictor(cache_dir)

    def request(setup: Setup, batch: int) -> Request:
        return Request(setup, batch, accumulate_for(batch, wanted))

    def largest(setup: Setup, surely: bool) -> PlanCell | None:
        first = at_most(wanted, setup)  # or the search would take a dip beyond the split for room
        batch = largest_batch(lambda b: predictor.excess_gib(request(setup, b), surely), first)
        return predictor.cell(request(setup, at_most(batch, setup))) if batch else None

    def at_most(batch: int, setup: Setup) -> int:
        return min(batch, setup.contents.train_images or batch)

    def exact(setup: Setup) -> PlanCell | None:
        divisors = (b for b in range(at_most(wanted, setup), 0, -1) if wanted % b == 0)
        cells = (predictor.cell(request(setup, batch)) for batch in divisors)
        return next((cell for cell in cells if cell.verdict is Verdict.FITS), None)

    return (
        {request: predictor.cell(request) for request in task.requests},
        {
            s: Found(exact(s), largest(s, surely=True), largest(s, surely=False))
            for s in task.setups
        },
    )


def largest_batch(excess: Callable[[int], float], wanted: int) -> int:
    """The largest batch whose peak is at most 0 GiB over the budget, or 0.

    The peak grows with the batch, nearly in proportion, but falls once where `wanted` is reached
    and gradients need not be held through a forward any more: the search begins there.
    """
    low, high = 0, wanted
    below = above = excess(high)
    while above <= 0:
        further = high
        if low and above > below:  # to where the line through both is past the budget
            further = min(int((high - low) * above / (below - above)) + 1, 7 * high)
        low, high, below = high, high + further, above
        above = excess(high)
    straight = low > 0  # nothing is known of a peak at 0
    while high - low > 1:
        share = below / (below - above) if straight else 0.5
        middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        width, over = high - low, excess(middle)
        if over <= 0:
            low, below = middle, over
        else:
            high, above = middle, over
        straight = low > 0 and 2 * (high - low) <= width  # else halve: the line leads nowhere
    return low


class Predictor:
    """Predicts cells; setups that differ only in card or budget share a simulation."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._known: dict[MemoryConfig, Peaks] = {}

    def cell(self, request: Request) -> PlanCell:
        """The request with its simulated peak.

        Raises:
            ValueError: Not a model, or a value that cannot be predicted.
        """
        peaks, budget = self._peaks(request), request.setup.budget
        peak = peaks.top(budget.limit_gib, budget.context_gib)
        return PlanCell(
            request.setup,
            request.batch,
            request.accumulate,
            peak_gib=peak.reserved_gib + budget.context_gib,
            upper_gib=peaks.upper_gib(budget.limit_gib, budget.context_gib, request.known_boxes),
            parts={"context": budget.context_gib, **peak.parts},
        )

    def excess_gib(self, request: Request, surely: bool) -> float:
        """What the request needs, or a bound of it, minus budget: as the verdict, but smoother.

        Raises:
            ValueError: Not a model, or a value that cannot be predicted.
        """
        needed_gib, budget = self._peaks(request).needed_gib, request.setup.budget
        if surely:
            needed_gib = upper(needed_gib, request.known_boxes)
        return violation(needed_gib + budget.context_gib, budget.limit_gib)

    def _peaks(self, request: Request) -> Peaks:
        config = request.config
        if config not in self._known:
            try:
                self._known[config] = predict_peaks(config, self._cache_dir)
            except ValueError as error:
                raise ValueError(_as_typed(str(error), request.setup)) from error
        return self._known[config]


def _as_typed(message: str, setup: Setup) -> str:
    """`predict_peaks` says ``model`` of what was typed as ``model.file``."""
    if setup.model != setup.config.model:
        return message
    return message.replace("model=", "model.file=", 1)
