"""How far above its prediction a peak may lie, by what is known of the data set."""

from __future__ import annotations

# Mean boxes per image up to which a data set counts as sparse.
SPARSE = 5.0
# Of readings / predictions, each predicted without its source: the quantile that a new source
# stays below (split conformal prediction). Fitted by benchmarks/bench_vram.py; 90 readings of 72
# sources cannot tell a higher one.
LEVEL = 0.95
FACTORS = {
    "sparse": {0.8: 1.014, 0.9: 1.044, LEVEL: 1.122},
    "dense": {0.8: 1.038, 0.9: 1.232, LEVEL: 1.256},
    "unknown": {0.8: 1.057, 0.9: 1.214, LEVEL: 1.672},
}


def knowledge(boxes_per_image: float | None) -> str:
    """The class of a data set by its mean boxes per image; None: nothing is known."""
    if boxes_per_image is None:
        return "unknown"
    return "sparse" if boxes_per_image <= SPARSE else "dense"


def upper(reserved_gib: float, boxes_per_image: float | None, level: float = LEVEL) -> float:
    """What a training that is predicted to reserve `reserved_gib` stays below, GiB.

    Raises:
        ValueError: The readings cannot tell that level.
    """
    factors = FACTORS[knowledge(boxes_per_image)]
    if level not in factors:
        known = ", ".join(f"{value:g}" for value in factors)
        raise ValueError(
            f"level must be one of {known} but got {level}: nothing higher can be told from the "
            f"published readings. Try level={LEVEL:g}."
        )
    return reserved_gib * factors[level]
