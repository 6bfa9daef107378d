"""What a plan predicts: cells, each a setup with a batch and an accumulate."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from sweeper.memory.budget import Budget
from sweeper.memory.config import MemoryConfig
from sweeper.memory.contents import BoxesSource, Contents


@dataclass(frozen=True, slots=True)
class Setup:
    """A training whose batch is still open, and the budget it is planned for.

    Attributes:
        model: The model as typed.
        budget: The limit of one card.
        config: The training, at batch 1.
        contents: What its data set holds.
    """

    model: str
    budget: Budget
    config: MemoryConfig
    contents: Contents

    @property
    def boxes_source(self) -> BoxesSource:
        """Where its boxes per image come from."""
        return self.contents.boxes_source

    @property
    def facets(self) -> tuple[Hashable, ...]:
        """What tells setups apart, in the order in which a plan is sorted."""
        config = self.config
        own = (config.imgsz, config.nc, config.optimizer, config.expandable, config.checkpoint)
        levers = (config.val_batch, config.freeze, config.amp)
        return self.model, self.budget, *own, *levers, self.contents


@dataclass(frozen=True, slots=True)
class Request:
    """One cell to predict."""

    setup: Setup
    batch: int
    accumulate: int

    @property
    def config(self) -> MemoryConfig:
        """What its memory depends on."""
        fullest = self.setup.contents.fullest_image(self.batch)
        return self.setup.config.with_batch(self.batch, self.accumulate, fullest)

    @property
    def known_boxes(self) -> float | None:
        """Mean boxes per image, unless they are assumed."""
        assumed = self.setup.boxes_source == "assumed"
        return None if assumed else self.setup.config.boxes_per_image


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a plan was asked.

    Attributes:
        requests: The distinct cells, by setup, batch and accumulate.
        effective_batch: Images per optimizer step to reach.
        assumed: Whether nobody named that.
    """

    requests: tuple[Request, ...]
    effective_batch: int
    assumed: bool = False

    @property
    def aim(self) -> str:
        """``an effective batch of 16``, with the key where nobody named one."""
        another = " (another: plan.effective_batch=N)" if self.assumed else ""
        return f"an effective batch of {self.effective_batch}{another}"

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The limits, one per card."""
        return tuple(dict.fromkeys(request.setup.budget for request in self.requests))


def accumulate_for(batch: int, effective_batch: int) -> int:
    """The fewest micro-batches that reach the effective batch."""
    return math.ceil(effective_batch / batch)
