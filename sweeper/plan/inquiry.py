"""From a search space to the distinct cells whose memory a plan predicts."""

from __future__ import annotations

import os
from functools import cache

from sweeper.config.settings import Settings
from sweeper.emulator.machine import is_emulated
from sweeper.executors.devices import find_devices
from sweeper.executors.emulated import emulated_device
from sweeper.memory.budget import Budget
from sweeper.memory.cards import find_budget
from sweeper.memory.config import ASSUMED_IMAGES, MemoryConfig
from sweeper.memory.contents import Contents
from sweeper.memory.measure.nvml import Device
from sweeper.plan.cells import Inquiry, Request, Setup, accumulate_for
from sweeper.study.space import Space, named_batch, wanted_batch
from sweeper.training.contents import ContentsFinder
from sweeper.trial.alloc_conf import alloc_conf, is_expandable


def inquire(space: Space, finder: ContentsFinder | None = None) -> Inquiry:
    """The distinct cells of a space; what memory does not depend on (``seed``) drops out.

    Where neither ``accumulate`` nor ``memory`` is in the space, each batch gets the accumulate
    that reaches the effective batch. ``finder`` may know datasets that were read before.

    Raises:
        SweeperError: The budget or the number of classes is not known, or a dataset has faults.
    """
    first = space.cells[0].settings
    wanted = wanted_batch(first)
    given = any(space.names(key) for key in ("accumulate", "memory"))
    finder = finder or ContentsFinder()
    requests: dict[Request, None] = {}
    for settings in (cell.settings for cell in space.cells):
        accumulate = settings.accumulate if given else accumulate_for(settings.batch, wanted)
        setup = _setup(settings, finder.find(settings))
        requests[Request(setup, settings.batch, accumulate)] = None
    return Inquiry(_sorted(list(requests)), wanted, assumed=named_batch(first) is None)


def _setup(settings: Settings, contents: Contents) -> Setup:
    config = MemoryConfig(
        model=settings.model.source,
        nc=contents.nc,
        batch=1,
        accumulates=False,
        amp=settings.amp,
        imgsz=settings.train.imgsz,
        optimizer=settings.train.optimizer,
        boxes_per_image=contents.boxes_per_image,
        images=contents.images or ASSUMED_IMAGES,
        expandable=is_expandable(alloc_conf(settings.memory.allocator, os.environ)),
        checkpoint=settings.memory.checkpoint,
        val_batch=settings.memory.val_batch,
        freeze=settings.memory.freeze,
    )
    model = settings.model.file or settings.model.name
    return Setup(model, _budget(settings), config, contents)


def _sorted(requests: list[Request]) -> tuple[Request, ...]:
    """By the facets of the setup, each in the order of the command line, then by batch."""
    columns = zip(*(request.setup.facets for request in requests), strict=True)
    places = [{value: i for i, value in enumerate(dict.fromkeys(c))} for c in columns]

    def key(request: Request) -> tuple[list[int], int, int]:
        facets = zip(places, request.setup.facets, strict=True)
        return [place[facet] for place, facet in facets], request.batch, request.accumulate

    return tuple(sorted(requests, key=key))


def _budget(settings: Settings) -> Budget:
    gpu = _gpu(settings) if settings.vram.card == "auto" else None
    return find_budget(settings.vram, gpu)


def _gpu(settings: Settings) -> Device | None:
    """The card of a study: an emulated one need not be built for a plan."""
    if settings.vram.emulated and not is_emulated():
        return emulated_device(settings.vram, settings.executor)
    return _gpu_here()


@cache
def _gpu_here() -> Device | None:
    return find_devices("auto").gpu
