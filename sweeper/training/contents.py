"""Find what datasets hold, in their labels or as typed."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.memory.config import ASSUMED_BOXES
from sweeper.memory.contents import Contents
from sweeper.training.crowding import Crowd, fullest_images
from sweeper.training.dataset import Dataset, count_classes, dataset_at_hand

# Mosaic joins four images and crops the result to a quarter of its area; boxes cut by the border
# count as well. Twice the mean is what Ultralytics' own training logs show for COCO.
MOSAIC_BOXES = 2.0


def read_contents(settings: Settings, dataset: Dataset) -> Contents:
    """What a checked dataset holds under the mosaic of a configuration."""
    crowd = Crowd.of(settings, dataset)
    mosaic = crowd.mixed_epochs > 0 and settings.train_args().get("mosaic", 1.0)
    mean = sum(dataset.boxes) / dataset.train_images
    boxes = mean * (MOSAIC_BOXES if mosaic else 1.0)
    images = dataset.train_images
    drawn = images * settings.train.epochs
    return Contents(len(dataset.names), boxes, "labels", drawn, fullest_images(crowd), images)


class ContentsFinder:
    """What the datasets of configurations hold; labels are read once, nothing is downloaded."""

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset | None] = {}

    def know(self, settings: Settings, dataset: Dataset) -> None:
        """Take a dataset that has been checked already for that of a configuration."""
        self._datasets[repr(settings.data)] = dataset

    def find(self, settings: Settings) -> Contents:
        """What a configuration's dataset holds.

        `plan.boxes_per_image` saves reading the labels; where it is not typed they decide if they
        are at hand, else `ASSUMED_BOXES`.

        Raises:
            SweeperError: The number of classes is not known, or the dataset has faults.
        """
        key = repr(settings.data)
        if (typed := settings.plan.boxes_per_image) is not None:
            known = self._datasets.get(key)
            images = known.train_images if known else None
            return Contents(count_classes(settings.data), typed, "typed", train_images=images)
        if key not in self._datasets:
            self._datasets[key] = dataset_at_hand(settings.data, Path(settings.runs_dir))
        dataset = self._datasets[key]
        if dataset is None:
            return Contents(count_classes(settings.data), ASSUMED_BOXES, "assumed")
        return read_contents(settings, dataset)
