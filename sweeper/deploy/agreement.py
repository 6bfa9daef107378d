"""Whether an export says what the .pt says, on the same inputs and on the validation set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sweeper.config.settings import ToleranceSettings

# Boxes of places without a score mean nothing; a training run of any quality has these.
BEST_PLACES = 100


def differences(reference: Path, other: Path) -> tuple[float, float]:
    """Largest difference of a box (pixels) and of a score over all images.

    The arrays have the shape images x (4 + classes) x places. Boxes are compared at the
    `BEST_PLACES` places of each image that the reference scores highest, scores everywhere.

    Raises:
        ValueError: The two have different shapes, or a value is not finite.
    """
    a, b = np.load(reference), np.load(other)
    if a.shape != b.shape:
        raise ValueError(f"its output has the shape {b.shape[1:]}, that of the .pt {a.shape[1:]}")
    if not np.isfinite(b).all():
        raise ValueError("its output holds values that are not finite")
    best = a[:, 4:].max(axis=1).argsort(axis=1)[:, -BEST_PLACES:]
    boxes = np.take_along_axis(np.abs(a - b)[:, :4], best[:, None, :], axis=2)
    return float(boxes.max()), float(np.abs(a - b)[:, 4:].max())


def verdict(
    tolerance: ToleranceSettings, box_px: float, score: float, map50: float, reference: float
) -> str:
    """Why an export disagrees with the .pt; empty when it agrees."""
    found = {"box_px": box_px, "score": score, "map50": abs(map50 - reference)}
    over = [
        f"{name} differs by {value:.4g}, tolerance {getattr(tolerance, name):g}"
        for name, value in found.items()
        if not value <= getattr(tolerance, name)
    ]
    return f"disagrees with the .pt: {'; '.join(over)}" if over else ""
