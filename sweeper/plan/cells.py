"""From a search space to the distinct cells whose memory a plan predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from sweeper.config.compose import CONF_DIR
from sweeper.config.settings import DataSettings, Settings
from sweeper.errors import DataError, SettingsError
from sweeper.executors.devices import find_devices
from sweeper.memory.budget import Budget, Card, resolve_budget
from sweeper.memory.measure.nvml import Device
from sweeper.study.space import Space
from sweeper.training.dataset import read_class_names

EFFECTIVE_BATCH = 16  # where neither plan.effective_batch nor study.effective_batch is set


@dataclass(frozen=True, slots=True)
class Setup:
    """What peak and budget depend on beside batch and accumulate; ``model`` is for people."""

    model: str
    card: str
    budget_gib: float
    context_gib: float
    imgsz: int
    nc: int
    optimizer: str
    amp: bool
    model_file: str


@dataclass(frozen=True, slots=True)
class Request:
    """One cell to predict."""

    setup: Setup
    batch: int
    accumulate: int


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a plan was asked.

    Attributes:
        requests: The distinct cells, by setup, batch and accumulate.
        effective_batch: Images per optimizer step to reach.
        boxes_per_image: Mean number of objects per image.
        budgets: The limits, one per card, each with the way it came about.
    """

    requests: tuple[Request, ...]
    effective_batch: int
    boxes_per_image: float
    budgets: tuple[Budget, ...]


def accumulate_for(batch: int, effective_batch: int) -> int:
    """The fewest micro-batches that reach the effective batch."""
    return math.ceil(effective_batch / batch)


def inquire(space: Space) -> Inquiry:
    """The distinct cells of a space; what memory does not depend on (``seed``) drops out.

    Where neither ``accumulate`` nor ``memory`` is in the space, each batch gets the accumulate
    that reaches the effective batch.

    Raises:
        SweeperError: A budget, or the number of classes, cannot be told.
    """
    first = space.cells[0].settings
    wanted = first.plan.effective_batch or first.study.effective_batch or EFFECTIVE_BATCH
    given = any(space.names(key) for key in ("accumulate", "memory"))
    budgets: dict[Budget, None] = {}
    requests: dict[Request, None] = {}
    for settings in (cell.settings for cell in space.cells):
        budget = _budget(settings)
        accumulate = settings.accumulate if given else accumulate_for(settings.batch, wanted)
        budgets[budget] = None
        requests[Request(_setup(settings, budget), settings.batch, accumulate)] = None
    return Inquiry(_sorted(list(requests)), wanted, first.plan.boxes_per_image, tuple(budgets))


def _setup(settings: Settings, budget: Budget) -> Setup:
    return Setup(
        model=settings.model.file or settings.model.name,
        card=budget.card,
        budget_gib=budget.budget_gib,
        context_gib=budget.context_gib,
        imgsz=settings.train.imgsz,
        nc=_count_classes(settings.data),
        optimizer=settings.train.optimizer,
        amp=settings.amp,
        model_file=settings.model.source,
    )


def _sorted(requests: list[Request]) -> tuple[Request, ...]:
    """By the fields of the setup, each in the order of the command line, then by batch."""
    orders = [
        (field.name, list(dict.fromkeys(getattr(r.setup, field.name) for r in requests)))
        for field in fields(Setup)
    ]

    def key(request: Request) -> tuple[list[int], int, int]:
        places = [order.index(getattr(request.setup, name)) for name, order in orders]
        return places, request.batch, request.accumulate

    return tuple(sorted(requests, key=key))


def _count_classes(data: DataSettings) -> int:
    if data.yaml is None and data.nc is None:
        raise SettingsError(
            "data.nc is not set. Give the number of classes, e.g. data.nc=80, or the data set: "
            "data=custom data.yaml=PATH."
        )
    if data.yaml is None or (data.nc is not None and not Path(data.yaml).expanduser().is_file()):
        assert data.nc is not None
        return data.nc
    found = len(read_class_names(data.yaml))
    if data.nc not in (None, found):
        raise DataError(f"data.nc={data.nc} but {data.yaml} names {found} classes.")
    return found


def _budget(settings: Settings) -> Budget:
    card = Card(**vars(settings.vram))
    gpu = _gpu() if card.card == "auto" else None
    return resolve_budget(card, gpu, CONF_DIR / "vram")


@cache
def _gpu() -> Device | None:
    return find_devices("auto").gpu
