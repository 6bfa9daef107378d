"""What the run's n-th training sample is: a function of the seed and n alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler, get_worker_info
from ultralytics.data.dataset import YOLODataset


def seed_everything(*parts: object) -> None:
    """Start every generator that a sample's augmentation may draw from, as ``parts`` say.

    CUDA's generators stay as they are. Albumentations follows torch's seed (data/augment.py,
    Albumentations).
    """
    random.seed("/".join(map(str, parts)))  # a text is hashed whole: neighbours share nothing
    np.random.seed(random.getrandbits(32))
    torch.default_generator.manual_seed(random.getrandbits(63))


def seed_epoch(seed: int, epoch: int) -> None:
    """Start every generator of the training process, CUDA's included."""
    seed_everything(seed, "epoch", epoch)
    torch.manual_seed(torch.initial_seed())


class SampleNumbers(Sampler[int]):
    """Counts the samples of the whole run; an epoch is one pass.

    Workers read ahead into the next epoch, so a sample's epoch follows from its place in
    Ultralytics' endless stream (data/build.py, _RepeatSampler), not from the training loop.

    Attributes:
        images: Samples of one epoch.
        epoch: The epoch of the next pass, from 0.
    """

    def __init__(self, images: int) -> None:
        self.images, self.epoch = images, 0

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.images
        self.epoch += 1
        return iter(range(first, first + self.images))


class NumberedDataset(YOLODataset):  # type: ignore[misc]
    """Ultralytics' dataset, read by sample number.

    Mosaic draws from the images that the process has loaded last (data/base.py, `buffer`). They
    stay in memory across epochs, so a process that starts later would draw from others. Here they
    follow from the number as well: the latest images in the order, among every n-th micro-batch
    where n workers take turns, whether the process has them in memory or must load them again.
    """

    def number(self, seed: int, batch: int, batches: int, shuffle: bool) -> None:
        """Read by number from now on, ``batches`` micro-batches of ``batch`` images per epoch."""
        self.seed, self.batch_size, self.batches, self.shuffle = seed, batch, batches, shuffle
        # Ultralytics drops the oldest image once the buffer is full. Unshuffled epochs are those
        # of rect=True, which has no mosaic (data/dataset.py, build_transforms).
        self.pool_size = max(self.max_buffer_length - 1, 1) if shuffle else 0
        self._pool: dict[int, None] = {}  # in the order of their last use
        self._in_memory: set[int] = set()
        self._order: tuple[int, list[int]] = (-1, [])
        self._latest: int | None = None

    def __getitem__(self, number: int) -> dict[str, Any]:
        if self._latest != self._previous(number):
            self._recall(number)
        self._latest = number
        index = self._index(number)
        self._pool.pop(index, None)
        self._pool[index] = None
        if len(self._pool) > self.pool_size:
            del self._pool[next(iter(self._pool))]
        self.buffer = list(self._pool)
        seed_everything(self.seed, "sample", number)
        sample: dict[str, Any] = super().__getitem__(index)
        self._forget()
        return sample

    def load_image(self, i: int, *args: Any, **kwargs: Any) -> Any:
        """Load an image; that it is in memory now does not let mosaic draw it."""
        pool, self.buffer = self.buffer, []
        image = super().load_image(i, *args, **kwargs)
        self._in_memory.update(self.buffer)
        self.buffer = pool
        return image

    def _forget(self) -> None:
        for i in self._in_memory - self._pool.keys():
            self.ims[i] = self.im_hw0[i] = self.im_hw[i] = None
        self._in_memory &= self._pool.keys()

    def _index(self, number: int) -> int:
        epoch, position = divmod(number, len(self))
        if not self.shuffle:
            return position
        if self._order[0] != epoch:
            seed = random.Random(f"{self.seed}/order/{epoch}").getrandbits(63)
            order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
            self._order = epoch, order.tolist()
        return self._order[1][position]

    def _previous(self, number: int) -> int | None:
        """The sample that this process reads before ``number``; workers take turns by batch."""
        epoch, position = divmod(number, len(self))
        if position % self.batch_size:
            return number - 1
        worker = get_worker_info()
        turn = epoch * self.batches + position // self.batch_size
        turn -= worker.num_workers if worker else 1
        epoch, batch = divmod(turn, self.batches)
        end = min((batch + 1) * self.batch_size, len(self))
        return None if turn < 0 else epoch * len(self) + end - 1

    def _recall(self, number: int) -> None:
        """Fill the pool as if this process had read all samples before ``number``."""
        latest: list[int] = []
        before = self._previous(number)
        while before is not None and len(latest) < self.pool_size:
            if (index := self._index(before)) not in latest:
                latest.append(index)
            before = self._previous(before)
        self._pool = dict.fromkeys(reversed(latest))


def number_samples(loader: Any, seed: int) -> SampleNumbers:
    """Let Ultralytics' training loader read by sample number."""
    dataset = loader.dataset
    dataset.__class__ = NumberedDataset  # data/build.py, build_yolo_dataset names the class
    shuffle = isinstance(loader.sampler, RandomSampler)
    dataset.number(seed, loader.batch_size, len(loader), shuffle)
    numbers = SampleNumbers(len(dataset))
    loader.batch_sampler.sampler.sampler = numbers  # _RepeatSampler, BatchSampler
    return numbers
