"""Whether an export says what the .pt says, on the same inputs and on the validation set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sweeper.deploy.rows import Row

# Largest differences of a box, pixels, and of a score: computed in fp32, and in half precision.
TOLERANCE, HALF_TOLERANCE = (0.5, 0.01), (2.0, 0.03)
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


def verdict(row: Row, reference: float, max_map_drop: float) -> str:
    """Why an export disagrees with the .pt, whose mAP@0.5 is the reference; empty when it agrees.

    What counts is the accuracy that is lost. Only where the .pt has no more of it than may be
    lost, its boxes and scores are compared instead.
    """
    assert row.map50 is not None and row.box_px is not None and row.score is not None
    if reference > max_map_drop:
        drop = reference - row.map50
        if drop <= max_map_drop:
            return ""
        return f"loses {drop:.4f} of mAP@0.5, more than deploy.max_map_drop={max_map_drop:g}"
    box_px, score = TOLERANCE if row.ran == "fp32" else HALF_TOLERANCE
    over = [
        f"{name} differs by {value:.4g}, at most {most:g} may be"
        for name, value, most in (
            ("a box in px", row.box_px, box_px),
            ("a score", row.score, score),
        )
        if not value <= most
    ]
    return f"disagrees with the .pt: {'; '.join(over)}" if over else ""
