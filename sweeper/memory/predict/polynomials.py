"""A traced step as numbers: storages sized by polynomials in batch, image size and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Events = list[tuple[int, int]]  # (+number, bytes) at a birth, (-number, at most 0) at a death

TILE = 32  # pixels: polynomials count areas in tiles of 32 x 32
# The anchors' rulers grow with imgsz, not with its square: below the allocator's smallest block.
TOLERANCE = 512


def area(imgsz: float) -> float:
    """Tiles of an image."""
    return (imgsz / TILE) ** 2


def model_basis(batch: float, imgsz: float) -> list[float]:
    """Feature maps grow with the area, the attention block with its square."""
    tiles = area(imgsz)
    return [1.0, batch, tiles, batch * tiles, batch * tiles**2]


def loss_basis(batch: float, imgsz: float, boxes: float, counts: list[float]) -> list[float]:
    """`boxes` is the padded number per image, `counts` the rows that each `nonzero` found."""
    tiles = area(imgsz)
    padded = batch * boxes
    return [1.0, batch, tiles, batch * tiles, padded, padded * tiles, *counts]


def count_basis(batch: float, imgsz: float, boxes: float, coverage: float) -> list[float]:
    """Rows of a `nonzero`: some per box, some per anchor inside a box that covers `coverage`."""
    padded = batch * boxes
    return [padded, padded * area(imgsz) * coverage]


@dataclass(frozen=True, slots=True)
class SectionTrace:
    """Births (+number) and deaths (-number) in order; row i of `coefficients` sizes event i.

    A storage that is still alive at the end has no death here. `kept` are the numbers of
    gradients, which outlive their step.
    """

    numbers: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    kept: NDArray[np.int64]

    def sizes(self, basis: list[float]) -> list[int]:
        """Bytes of every event at a point of its basis."""
        values = np.rint(self.coefficients @ np.array(basis))
        found: list[int] = np.maximum(values, 0).astype(np.int64).tolist()
        return found

    def split(self, marks: dict[str, int]) -> dict[str, SectionTrace]:
        """Cut at the first events of sections; their numbers go on meaning the same storages."""
        ends = [*list(marks.values())[1:], len(self.numbers)]
        return {
            name: SectionTrace(self.numbers[start:end], self.coefficients[start:end], self.kept)
            for (name, start), end in zip(marks.items(), ends, strict=True)
        }


@dataclass(frozen=True, slots=True, eq=False)
class StepTrace:
    """All that a model definition does to memory: the sections of its step and a few rates.

    `anchors` are predictions per tile, `stride` is the largest, and row i of `count_rates` tells
    the rows that the i-th `nonzero` of the loss finds (see `count_basis`).
    """

    sections: dict[str, SectionTrace]
    anchors: float
    stride: int
    count_rates: NDArray[np.float64]


def fit(points: list[list[float]], traces: list[Events], kept: list[int]) -> SectionTrace:
    """Solve the sizes of traces of one program at several points.

    Raises:
        ValueError: The traces do not line up, or a size is not a polynomial of the basis.
    """
    numbers = [[number for number, _ in trace] for trace in traces]
    if any(other != numbers[0] for other in numbers):
        raise ValueError("the traces do not line up: the model does other things at other sizes")
    matrix = np.array(points)
    sizes = np.array([[nbytes for _, nbytes in trace] for trace in traces], dtype=np.float64)
    found = np.linalg.lstsq(matrix, sizes, rcond=None)[0]
    error = float(np.abs(matrix @ found - sizes).max(initial=0.0))
    if error >= TOLERANCE:
        raise ValueError(f"storage sizes are off their polynomial by {error:.0f} bytes")
    return SectionTrace(
        np.array(numbers[0], dtype=np.int64), found.T, np.array(kept, dtype=np.int64)
    )
