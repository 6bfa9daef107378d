"""How full the fullest image is: boxes per image are taken to be lognormal."""

from __future__ import annotations

import math
from statistics import NormalDist


def fullest_image(mean: float, images: float, spread: float) -> float:
    """Boxes to expect in the fullest of `images` images.

    Args:
        mean: Boxes of an image, on average.
        images: How many are drawn.
        spread: Standard deviation of the logarithm of an image's boxes.
    """
    return mean * math.exp(spread * expected_largest(images) - spread**2 / 2)


def expected_largest(count: float) -> float:
    """The expected largest of `count` standard normal values (Blom 1958)."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0
