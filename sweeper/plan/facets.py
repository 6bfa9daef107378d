"""What tells the setups of a plan apart, and what they share."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.plan.cells import Setup
from sweeper.plan.predictions import Plan
from sweeper.trial.levers import LEVERS, pulled
from sweeper.trial.spec import trained_px

TWICE = "2 × batch"


def _imgsz(px: int) -> str:
    at = trained_px(px)
    return f"{px}" if at == px else f"{px} (trained at {at})"


VARYING: dict[str, Callable[[Setup], str]] = {
    "card": lambda setup: setup.budget.card,
    "imgsz": lambda setup: _imgsz(setup.config.imgsz),
    "nc": lambda setup: f"{setup.config.nc}",
    "optimizer": lambda setup: setup.config.optimizer,
    "allocator": lambda setup: setup.config.allocator,
    "checkpoint": lambda setup: setup.config.checkpoint,
    "val_batch": lambda setup: f"{setup.config.val_batch or TWICE}",
    "freeze": lambda setup: f"{setup.config.freeze}",
    "boxes per image": lambda setup: f"{round(setup.config.boxes_per_image, 1):g}",
    "images": lambda setup: f"{setup.config.images}",
}


def columns(plan: Plan) -> list[str]:
    """Names of `VARYING` that differ between the cells of a plan."""
    return [n for n, text in VARYING.items() if len({text(s) for s in plan.setups}) > 1]


def shared(plan: Plan) -> dict[str, str]:
    """Those of `VARYING` that do not differ; levers left alone go without saying."""
    first = plan.cells[0].setup
    silent = {*columns(plan), *(LEVERS.keys() - pulled(first.config))}
    return {name: text(first) for name, text in VARYING.items() if name not in silent}
