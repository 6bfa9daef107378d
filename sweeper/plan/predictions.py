"""Predicted peaks of a plan's cells, and the largest batch that fits each setup."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import SettingsError
from sweeper.plan.cells import Inquiry, Request, Setup, accumulate_for
from sweeper.vram.budget import violation
from sweeper.vram.predict import VramPrediction, predict_vram

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
    predictor = Predictor(inquiry.boxes_per_image, cache_dir)
    cells = tuple(predictor.cell(request) for request in inquiry.requests)
    wanted = inquiry.effective_batch

    def largest(setup: Setup) -> PlanCell | None:
        def cell(batch: int) -> PlanCell:
            return predictor.cell(Request(setup, batch, accumulate_for(batch, wanted)))

        batch = largest_batch(lambda batch: cell(batch).fits, wanted)
        return cell(batch) if batch else None

    setups = dict.fromkeys(request.setup for request in inquiry.requests)
    return Plan(inquiry, cells, {setup: largest(setup) for setup in setups})


def largest_batch(fits: Callable[[int], bool], wanted: int) -> int:
    """The largest batch that fits, or 0.

    The peak grows with the batch, but falls once where `wanted` is reached and gradients need not
    be held through a forward any more: the search begins there.
    """
    low, high = 0, wanted
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class Predictor:
    """Predicts cells; setups that differ only in card or budget share a simulation."""

    def __init__(self, boxes_per_image: float, cache_dir: Path) -> None:
        self._boxes_per_image, self._cache_dir = boxes_per_image, cache_dir
        self._known: dict[Key, VramPrediction] = {}

    def cell(self, request: Request) -> PlanCell:
        """The request with its simulated peak.

        Raises:
            SettingsError: The model is none.
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
            raise SettingsError(_as_typed(str(error), setup)) from error


def _as_typed(message: str, setup: Setup) -> str:
    """`predict_vram` says ``model`` of what was typed as ``model.file``."""
    if setup.model != setup.model_file:
        return message
    return message.replace("model=", "model.file=", 1)
