"""Fit the constants and the bound of a prediction to published readings, source by source."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.readings import Reading
from sweeper.memory.config import ASSUMED_BOXES, ASSUMED_IMAGES
from sweeper.memory.predict.bound import knowledge
from sweeper.memory.predict.crowd import fullest_image
from sweeper.numbers import GIB

REPLAYED = Path(__file__).with_name("replayed_vram.json")
TOO_LOW = 3  # as bad as this many times too high
WORST = 0.15  # no reading counts for more than this error
CIOU_BYTES = 100  # of every anchor and box, in releases that compute CIoU of all of them
ANCHORS = 21 / 32**2  # of every pixel, in models with strides 8, 16 and 32
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Constants(NamedTuple):
    """Those of `Calibration`, and the share of activations that cuDNN takes before version 9."""

    workspace_gib: float
    workspace_share: float
    spread: float
    earlier_share: float


IN_USE = Constants(0.06, 0.025, 0.8, 0.3)
GRID = [
    Constants(*values)
    for values in itertools.product(
        (0.04, 0.05, 0.06, 0.07),
        (0.01, 0.02, 0.025, 0.03, 0.04),
        (0.6, 0.7, 0.8, 0.9),
        (0.15, 0.2, 0.25, 0.3),
    )
]


class Replays:
    """Reserved memory of every reading, by boxes of the fullest image, as `--replay` kept it."""

    def __init__(self, file: Path = REPLAYED) -> None:
        document = json.loads(file.read_text())
        self.boxes: list[float] = document["boxes"]
        self.readings: dict[str, dict[str, Any]] = document["readings"]

    def predict(self, reading: Reading, constants: Constants, known: bool = True) -> float:
        """GiB reserved; `known`: with the crowd of its log, else with the assumed one."""
        mean = reading.mean(constants.spread) if known else ASSUMED_BOXES
        drawn = reading.drawn if known else ASSUMED_IMAGES
        boxes = fullest_image(mean, drawn, constants.spread)
        kept = self.readings[reading.key]
        # More boxes never take less; the replay's few dips are how its holes happen to fit.
        reserved = float(np.interp(boxes, self.boxes, np.maximum.accumulate(kept["reserved"])))
        if reading.dense_ciou:
            anchors = reading.batch * ANCHORS * reading.imgsz**2
            reserved += CIOU_BYTES * boxes * anchors / GIB
        share = constants.workspace_share if reading.modern else constants.earlier_share
        return reserved + constants.workspace_gib + share * kept["activations"]


@dataclass(frozen=True)
class Fit:
    """Predictions over readings (the ratio, 1 is exact) under all of `GRID`, and their cost."""

    sources: np.ndarray[Any, np.dtype[np.int64]]
    ratios: Floats
    unknown: Floats
    weights: Floats
    costs: Floats

    @classmethod
    def of(cls, readings: Sequence[Reading], replays: Replays) -> Fit:
        """Every source counts by the root of its readings."""
        names = sorted({reading.source for reading in readings})
        sources = np.array([names.index(reading.source) for reading in readings])
        per_source = np.bincount(sources)[sources]

        def ratios(known: bool) -> Floats:
            rows = [
                [replays.predict(reading, constants, known) / reading.gib for constants in GRID]
                for reading in readings
            ]
            return np.array(rows)

        known = ratios(True)
        errors = np.minimum(np.abs(known - 1), WORST) * np.where(known < 1, TOO_LOW, 1)
        costs = np.zeros((len(names), len(GRID)))
        np.add.at(costs, sources, errors / np.sqrt(per_source)[:, None])
        return cls(sources, known, ratios(False), 1 / per_source, costs)

    def best(self, *without: int) -> int:
        """Place in `GRID` of the constants of least cost, some sources left out."""
        left = self.costs.sum(0) - self.costs[list(without)].sum(0)
        return int(left.argmin())

    def scores(self, *without: int) -> dict[bool, Floats]:
        """Reading / prediction of all, each predicted without its own source and `without`.

        By whether the crowd is known.
        """
        best = np.array([self.best(s, *without) for s in range(len(self.costs))])[self.sources]
        rows = np.arange(len(self.sources))
        return {True: 1 / self.ratios[rows, best], False: 1 / self.unknown[rows, best]}

    def factor(self, scores: Floats, chosen: Floats, level: float) -> float:
        """The quantile of some scores that a new source stays below with probability `level`.

        Every source counts once, and one more that has not been seen is infinitely high.
        """
        order = np.argsort(scores[chosen])
        counted = np.cumsum(self.weights[chosen][order])
        place = int(np.searchsorted(counted, level * (counted[-1] + 1) - 1e-9))
        return max(1.0, float(scores[chosen][order][place])) if place < len(order) else np.inf

    def factors(
        self, classes: Sequence[str], level: float, scores: dict[bool, Floats], without: int = -1
    ) -> dict[str, float]:
        """A factor by what is known of the data set, a source left out."""
        kept, own = self.sources != without, np.array(classes)
        known = {
            name: self.factor(scores[True], kept & (own == name), level)
            for name in ("sparse", "dense")
        }
        return {**known, "unknown": self.factor(scores[False], kept, level)}

    def held_out(self, classes: Sequence[str], level: float) -> tuple[Floats, Floats]:
        """Prediction and bound over every reading, constants and factor fitted without it."""
        predicted = 1 / self.scores()[True]
        bound = np.empty(len(predicted))
        for source in range(len(self.costs)):
            factors = self.factors(classes, level, self.scores(source), source)
            for row in np.flatnonzero(self.sources == source):
                bound[row] = predicted[row] * factors[classes[row]]
        return predicted, bound


def classes(readings: Sequence[Reading], spread: float) -> list[str]:
    """What is known of every reading's data set."""
    return [knowledge(None if r.boxes is None else r.mean(spread)) for r in readings]
