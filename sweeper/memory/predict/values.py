"""Refuses values that no training can have, by the name of the argument."""

from __future__ import annotations

import math

from sweeper.memory.config import ASSUMED_IMAGES

# The context of a T4 to A100 with CUDA 12's lazy loading is 0.3 to 0.6 GiB.
CONTEXT_GIB = 0.5
EXAMPLES = {
    "batch": 16,
    "accumulate": 4,
    "imgsz": 640,
    "nc": 80,
    "boxes_per_image": 8,
    "images": ASSUMED_IMAGES,
    "context_gib": CONTEXT_GIB,
    "val_batch": 16,
    "freeze": 10,
}


def check_whole(key: str, value: object) -> None:
    """Raise ValueError unless it is a whole number, at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{key} must be a whole number, at least 1, but got {value}. "
            f"Try {key}={EXAMPLES[key]}."
        )


def check_one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless it is one of those allowed."""
    if value not in allowed:
        raise ValueError(
            f"{key} must be one of {', '.join(allowed)} but got {value}. Try {key}={allowed[-1]}."
        )


def check_amount(key: str, value: float) -> None:
    """Raise ValueError unless it is finite and not negative."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{key} cannot be negative but got {value}. Try {key}={EXAMPLES[key]}.")
