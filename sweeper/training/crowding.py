"""The fullest image to expect of a whole run, from the labels of its data set."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from heapq import heappushpop
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeper.config.settings import Settings
from sweeper.memory.predict.parallel import in_children
from sweeper.training.data_yaml import split_images
from sweeper.training.dataset import Dataset

if TYPE_CHECKING:
    from sweeper.training.box_augmentation import BoxAugmentation

RUNS_BELOW = 19  # for one run that has a fuller image
MOST_RUNS, MOST_DRAWN, MOST_TRIED = 100, 1_000_000, 500  # runs, images of them all, augmented
JOINED = 4  # images in a mosaic
Rows = NDArray[np.int64]
AUGMENTATION = (
    *("mosaic", "mixup", "copy_paste"),
    *("degrees", "translate", "scale", "shear", "perspective"),
)


@dataclass(frozen=True, slots=True)
class Crowd:
    """All that the boxes of a run's images depend on.

    Attributes:
        yaml: The data set.
        boxes: Boxes of each training image.
        mixed_epochs: Epochs in which images are joined and mixed, before mosaic is closed.
        workers: Processes that load images. Each begins with nothing to draw from but its own: the
            first mosaic joins an image with itself.
        imgsz: Image side, pixels.
        augmentation: Ultralytics' arguments of it, as JSON.
    """

    yaml: Path
    boxes: tuple[int, ...]
    mixed_epochs: int
    workers: int
    imgsz: int
    augmentation: str

    @classmethod
    def of(cls, settings: Settings, dataset: Dataset) -> Crowd:
        """The crowd of a configuration on its data set."""
        given = settings.train_args()
        augmentation = {name: given[name] for name in AUGMENTATION if name in given}
        mosaic = augmentation.get("mosaic", 1.0)  # Ultralytics' default
        joins = mosaic or any(augmentation.get(name) for name in ("mixup", "copy_paste"))
        before = settings.train.epochs - settings.train.close_mosaic
        mixed = before if joins and before > 0 and not settings.train.rect else 0
        text = json.dumps(augmentation, sort_keys=True)
        workers = max(settings.train.workers, 1)
        return cls(dataset.yaml, dataset.boxes, mixed, workers, settings.train.imgsz, text)

    @property
    def pools(self) -> tuple[int, ...]:
        """Images that a mosaic draws from, the latest of the order, for batches of 1, 2, 4, ..."""
        most = min(len(self.boxes), 1000)  # as Ultralytics' data/base.py, max_buffer_length
        doublings = max(math.ceil(math.log2(most / 8)), 0)
        return tuple(max(min(8 * 2**n, most) - 1, 1) for n in range(doublings + 1))


@cache
def fullest_images(crowd: Crowd) -> tuple[int, ...]:
    """Boxes of the fullest image to expect of a run, for batches of 1, 2, 4, ... images.

    The larger the batch, the more images a mosaic draws from, and the rarer it draws a crowded
    one twice. The last figure holds for all larger batches.

    Raises:
        SettingsError: Ultralytics refuses an argument of the augmentation.
    """
    if not crowd.mixed_epochs:
        return (max(crowd.boxes),)
    (found,) = in_children(search_images, [[crowd]])  # Ultralytics brings torch
    return found


def search_images(crowd: Crowd) -> tuple[int, ...]:
    """The same, where torch may be imported and an epoch at least is mixed.

    Raises:
        ValueError: Ultralytics refuses an argument of the augmentation.
    """
    from sweeper.training.box_augmentation import BoxAugmentation

    arguments = {**json.loads(crowd.augmentation), "imgsz": crowd.imgsz}
    augmentation = BoxAugmentation(split_images(crowd.yaml, "train"), arguments)
    return tuple(_fullest(crowd, pool, augmentation) for pool in crowd.pools)


def _fullest(crowd: Crowd, pool: int, augmentation: BoxAugmentation) -> int:
    """Boxes that one run in twenty has more of in an image; of `MOST_DRAWN` images the most.

    The images of many runs are drawn as a run draws them, and augmented from the most crowded on
    until those that are left have no more boxes to begin with.
    """
    boxes, hyp = np.array(crowd.boxes), augmentation.hyp
    of_a_run = crowd.mixed_epochs * len(boxes)
    of_all = min(MOST_RUNS * of_a_run, MOST_DRAWN)
    exceeding = max(of_all // (of_a_run * (1 + RUNS_BELOW)), 1)
    fullest = [max(crowd.boxes)] * exceeding  # a heap; the first is seen when mosaic is closed
    joined = of_all * (hyp.mosaic or 1.0)
    for mixes, images in enumerate((round(joined), round(joined * hyp.mixup))):
        pools = np.minimum(1 + np.arange(images) % of_a_run // crowd.workers, pool)
        drawn = _draw(len(boxes), pools, mixes, JOINED if hyp.mosaic else 1)
        most = boxes[drawn].sum(axis=1) * (1 + hyp.copy_paste)
        for row in np.argsort(-most, kind="stable")[:MOST_TRIED]:
            if most[row] <= fullest[0]:
                break
            heappushpop(fullest, augmentation.count(drawn[row].tolist(), mixes))
    return fullest[0]


def _draw(size: int, pools: Rows, mixes: int, joined: int) -> Rows:
    """For each image of the runs a row of the training images that go into it."""
    random, images = np.random.default_rng(0), len(pools)
    epochs = [random.permutation(size) for _ in range(math.ceil(images / size))]
    order = np.array(epochs, int).ravel()[:images]
    back = random.integers(pools[:, None], size=(images, (1 + mixes) * joined))
    drawn: Rows = order[np.arange(images)[:, None] - back]
    drawn[:, 0] = order
    drawn[:, joined::joined] = random.integers(size, size=(images, mixes))
    return drawn
