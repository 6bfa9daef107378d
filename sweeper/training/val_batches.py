"""Validation in smaller batches than Ultralytics', of the very images that it would see."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from torch.utils.data import Sampler


class SplitBatches(Sampler[list[int]]):
    """The batches of a rectangular dataset, each in parts of at most ``most`` images.

    In plain Ultralytics an image is padded to the shape of its batch (data/base.py,
    `set_rectangle`). Parts never mix two batches, so every image stays what it is without a limit.
    """

    def __init__(self, dataset: Any, most: int) -> None:
        self._parts: list[list[int]] = []
        for _, batch in groupby(range(len(dataset)), key=dataset.batch.__getitem__):
            indices = list(batch)
            self._parts += [indices[i : i + most] for i in range(0, len(indices), most)]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._parts)


def split_batches(loader: Any, most: int | None) -> None:
    """Let Ultralytics' validation loader, before it is first read, hold at most so many images."""
    if most is not None:
        loader.batch_sampler.sampler = SplitBatches(loader.dataset, most)  # in a _RepeatSampler
