"""Whether the boxes of a data set suit the size that its images are trained at."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sweeper.doctor.finding import Finding, ok, warning
from sweeper.training.reading import LabelledImage, Reading
from sweeper.trial.spec import STRIDE_PX

FINEST_PX = 8  # a cell of YOLO11's finest grid, its stride
SMALL_PX = 32  # below it COCO calls an object small
LEAST_IMGSZ, LARGEST_IMGSZ = 320, 1280  # to suggest
SMALLEST = 0.05  # of the boxes, which a suggested image size may leave too small
MOST = "95 %"  # the others

Sides = NDArray[np.float64]


def check_sizes(reading: Reading, imgsz: int) -> list[Finding]:
    """Findings on boxes and images at ``train.imgsz``; none without images of a known size."""
    sides = _sides(reading.train)
    if not sides.size:
        return []
    return [_box_sizes(sides, imgsz), _image_sizes(reading, imgsz), _imgsz(sides, imgsz)]


def _sides(images: Iterable[LabelledImage]) -> Sides:
    """The sides of squares as large as the boxes, as fractions of the image's longer side."""
    return np.array(
        [
            math.sqrt(box.width * width * box.height * height) / max(width, height)
            for image in images
            if image.size is not None
            for width, height in [image.size]
            for box in image.boxes or ()
            if not box.is_flat
        ]
    )


def _box_sizes(sides: Sides, imgsz: int) -> Finding:
    px = sides * imgsz
    text = (
        f"at train.imgsz={imgsz} the median side is {np.median(px):.0f} px; "
        f"{_share(px < SMALL_PX)} of the boxes are small, below {SMALL_PX} px, "
        f"{_share(px < FINEST_PX)} below {FINEST_PX} px"
    )
    return ok("box sizes", text)


def _image_sizes(reading: Reading, imgsz: int) -> Finding:
    longer = np.array([max(image.size) for image in reading.images if image.size is not None])
    text = (
        f"longer side {longer.min()} to {longer.max()} px, median {np.median(longer):.0f}; "
        f"{_share(longer < imgsz)} are enlarged to train.imgsz={imgsz}"
    )
    return ok("image sizes", text)


def _imgsz(sides: Sides, imgsz: int) -> Finding:
    """Whether the boxes are large enough for the finest grid, or larger than they need be."""
    smallest = float(np.quantile(sides, SMALLEST))
    least, ample = (_imgsz_for(px, smallest) for px in (FINEST_PX, SMALL_PX))
    if imgsz < least:
        text = (
            f"{imgsz} is little: {_share(sides * imgsz < FINEST_PX)} of the boxes are smaller "
            f"than a cell of the finest grid, {FINEST_PX} px."
        )
        return warning("imgsz", text, _larger(least, imgsz))
    ample = max(ample, LEAST_IMGSZ)
    if ample < imgsz:
        text = (
            f"{ample} may do: {MOST} of the boxes have {SMALL_PX} px or more there, and "
            f"activations take {(ample / imgsz) ** 2 * 100:.0f} % of their memory at {imgsz}"
        )
        return ok("imgsz", text)
    text = (
        f"{imgsz}, as set, suits the boxes: {MOST} have {smallest * imgsz:.0f} px or more, a "
        f"cell of the finest grid {FINEST_PX} px"
    )
    return ok("imgsz", text)


def _larger(least: int, imgsz: int) -> str:
    """What to do about boxes that are too small."""
    if least <= LARGEST_IMGSZ:
        times = (least / imgsz) ** 2
        return f"Try train.imgsz={least}; activations take {times:.1f} times the memory there."
    larger = f"Try train.imgsz={LARGEST_IMGSZ}, or cut" if imgsz < LARGEST_IMGSZ else "Cut"
    return f"{larger} the images into tiles: {MOST} are larger from {least} px on only."


def _imgsz_for(px: int, smallest: float) -> int:
    """The image size at which a side, a fraction of the image's, has so many pixels."""
    return STRIDE_PX * math.ceil(px / max(smallest, 1e-6) / STRIDE_PX)


def _share(which: NDArray[np.bool_]) -> str:
    return f"{100 * which.mean():.0f} %"
