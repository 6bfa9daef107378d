"""What the memory of a training depends on in a dataset: its classes and the boxes per image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.config.settings import Settings
from sweeper.memory.config import ASSUMED_BOXES
from sweeper.training.dataset import Dataset, count_classes, dataset_at_hand

# Mosaic joins four images and crops the result to a quarter of its area; boxes cut by the border
# count as well. Twice the mean is what Ultralytics' own training logs show for COCO.
MOSAIC_BOXES = 2.0

BoxesSource = Literal["labels", "assumed", "typed"]


@dataclass(frozen=True, slots=True)
class Contents:
    """Classes and boxes of a dataset.

    Attributes:
        nc: Number of classes.
        boxes_per_image: Mean number of objects per training image, after mosaic.
        boxes_source: Where the latter comes from.
        images: Images that the whole run draws; None where the data set is not at hand.
    """

    nc: int
    boxes_per_image: float
    boxes_source: BoxesSource
    images: int | None = None


def read_contents(settings: Settings, dataset: Dataset) -> Contents:
    """What a checked dataset holds under the mosaic of a configuration."""
    mosaic = settings.train_args().get("mosaic", 1.0) > 0
    mean = dataset.boxes / dataset.train_images
    boxes = mean * (MOSAIC_BOXES if mosaic else 1.0)
    drawn = dataset.train_images * settings.train.epochs
    return Contents(len(dataset.names), boxes, "labels", drawn)


def find_contents(settings: Settings, boxes_per_image: float | None = None) -> Contents:
    """What a configuration's dataset holds; nothing is downloaded.

    Args:
        settings: The configuration.
        boxes_per_image: As typed, which saves reading the labels; None: the labels decide if they
            are at hand, else `ASSUMED_BOXES`.

    Raises:
        SweeperError: The number of classes is not known, or the dataset has faults.
    """
    if boxes_per_image is not None:
        return Contents(count_classes(settings.data), boxes_per_image, "typed")
    dataset = dataset_at_hand(settings.data, Path(settings.runs_dir))
    if dataset is None:
        return Contents(count_classes(settings.data), ASSUMED_BOXES, "assumed")
    return read_contents(settings, dataset)
