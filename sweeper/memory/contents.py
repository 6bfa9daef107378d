"""What the memory of a training depends on in a dataset: its classes and the boxes per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BoxesSource = Literal["labels", "assumed", "typed"]


@dataclass(frozen=True, slots=True)
class Contents:
    """Classes and boxes of a dataset.

    Attributes:
        nc: Number of classes.
        boxes_per_image: Mean number of objects per training image, after mosaic.
        boxes_source: Where the latter comes from.
        images: Images that the whole run draws; None where the data set is not at hand.
        fullest_images: Boxes of the fullest of them, for batches of 1, 2, 4, ... images.
        train_images: Images of the training split, which no batch has more of; None likewise.
    """

    nc: int
    boxes_per_image: float
    boxes_source: BoxesSource
    images: int | None = None
    fullest_images: tuple[int, ...] = ()
    train_images: int | None = None

    def fullest_image(self, batch: int) -> int | None:
        """Boxes of the fullest image of a run; None where no labels were read."""
        figures = self.fullest_images[: batch.bit_length()]
        return figures[-1] if figures else None
