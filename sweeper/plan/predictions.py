"""Predicted peaks of a plan's cells, and the largest batch that fits each setup."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sweeper.memory.budget import violation
from sweeper.memory.predict.many import group_by, in_children
from sweeper.memory.predict.prediction import VramPrediction, predict_vram
from sweeper.plan.cells import Inquiry, Request, Setup, accumulate_for

Key = tuple[str, int, int, str, bool, int, bool]


@dataclass(frozen=True, slots=True)
class PlanCell:
    """A cell with its simulated peak; ``parts`` sum to it, the CUDA context included."""

    setup: Setup
    batch: int
    accumulate: int
    peak_gib: float
    parts: dict[str, float]

    @property
    def excess_gib(self) -> float:
        """Peak minus budget, GiB."""
        return violation(self.peak_gib, self.setup.budget_gib)

    @property
    def fits(self) -> bool:
        """Whether the peak keeps to the budget."""
        return self.excess_gib <= 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer: every cell, and for each setup the cell of the largest batch that fits."""

    inquiry: Inquiry
    cells: tuple[PlanCell, ...]
    largest: dict[Setup, PlanCell | None]


def make_plan(inquiry: Inquiry, cache_dir: Path) -> Plan:
    """Predict every cell and search the largest batch of every setup.

    Raises:
        SettingsError: A model that is none.
    """
    groups = group_by(inquiry.requests, lambda r: (r.setup.model_file, r.setup.nc, r.setup.amp))
    ask = partial(_answer, inquiry=inquiry, cache_dir=cache_dir)
    cells: dict[Request, PlanCell] = {}
    largest: dict[Setup, PlanCell | None] = {}
    for found in in_children(ask, groups):
        cells |= found.cells
        largest |= found.largest
    setups = dict.fromkeys(request.setup for request in inquiry.requests)
    return Plan(
        inquiry,
        tuple(cells[request] for request in inquiry.requests),
        {setup: largest[setup] for setup in setups},
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child process found of a plan."""

    cells: dict[Request, PlanCell]
    largest: dict[Setup, PlanCell | None]


def _answer(requests: list[Request], inquiry: Inquiry, cache_dir: Path) -> Answer:
    predictor = Predictor(inquiry.boxes_per_image, cache_dir)
    wanted = inquiry.effective_batch

    def largest(setup: Setup) -> PlanCell | None:
        def cell(batch: int) -> PlanCell:
            return predictor.cell(Request(setup, batch, accumulate_for(batch, wanted)))

        batch = largest_batch(lambda batch: cell(batch).excess_gib, wanted)
        return cell(batch) if batch else None

    return Answer(
        {request: predictor.cell(request) for request in requests},
        {setup: largest(setup) for setup in dict.fromkeys(r.setup for r in requests)},
    )


def largest_batch(excess: Callable[[int], float], wanted: int) -> int:
    """The largest batch whose peak is at most 0 GiB over the budget, or 0.

    The peak grows with the batch, nearly in proportion, but falls once where `wanted` is reached
    and gradients need not be held through a forward any more: the search begins there.
    """
    low, high = 0, wanted
    below = above = excess(high)
    while above <= 0:
        low, high, below = high, 2 * high, above
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

    def __init__(self, boxes_per_image: float, cache_dir: Path) -> None:
        self._boxes_per_image, self._cache_dir = boxes_per_image, cache_dir
        self._known: dict[Key, VramPrediction] = {}

    def cell(self, request: Request) -> PlanCell:
        """The request with its simulated peak.

        Raises:
            ValueError: The model is none.
        """
        setup = request.setup
        found = self._simulate(request)
        return PlanCell(
            setup,
            request.batch,
            request.accumulate,
            peak_gib=found.reserved_gib + setup.context_gib,
            parts={"context": setup.context_gib, **found.parts},
        )

    def _simulate(self, request: Request) -> VramPrediction:
        setup, held = request.setup, request.accumulate > 1  # more than 2 hold nothing more
        model = setup.model_file
        key = (model, setup.imgsz, setup.nc, setup.optimizer, setup.amp, request.batch, held)
        if key not in self._known:
            self._known[key] = self._predict(request)
        return self._known[key]

    def _predict(self, request: Request) -> VramPrediction:
        setup = request.setup
        try:
            # Ultralytics may print when it is imported; stdout is the plan's alone.
            with redirect_stdout(sys.stderr):
                return predict_vram(
                    setup.model_file,
                    batch=request.batch,
                    accumulate=request.accumulate,
                    amp=setup.amp,
                    imgsz=setup.imgsz,
                    nc=setup.nc,
                    optimizer=setup.optimizer,
                    boxes_per_image=self._boxes_per_image,
                    context_gib=setup.context_gib,
                    cache_dir=self._cache_dir,
                )
        except ValueError as error:
            raise ValueError(_as_typed(str(error), setup)) from error


def _as_typed(message: str, setup: Setup) -> str:
    """`predict_vram` says ``model`` of what was typed as ``model.file``."""
    if setup.model != setup.model_file:
        return message
    return message.replace("model=", "model.file=", 1)
