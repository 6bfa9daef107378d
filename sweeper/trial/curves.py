"""What the beginning of a curve lets expect of its end.

Once learning has begun, the error ``1 - mAP@0.5`` falls about as a power of the epoch, counted
from some way into the delay before (`_DELAY`). The power is common to the cells of a study but for
a part (`_OWN_SLOPE`), and changes on the way to the end (`_BEND`): where mAP is low the error has
hardly begun to fall, and does not show how it will (`_STEEP`). Mostly one seed of a cell has run:
whole runs of two are taken to scatter as much as a curve wiggles around its power law on the way.
For an end that is extrapolated half of that is added (`_SEED`), as level and slope are uncertain
besides. Power and wiggle are estimated from all curves that stand at a rung, with priors that
matter while there are few points. The constants were chosen on few curves of the digits and on the
synthetic worlds of benchmarks/worlds.py.

mAP@0.5 is that of a run's best epoch, so no end is expected below the best so far. (A later epoch
that is better in mAP@0.5:0.95, which decides, may have a little less.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BEGUN = 0.05  # mAP@0.5 that no untrained model holds for two epochs
_LEAST_ERROR = 0.002
_DELAY = 0.75  # of the epochs before learning began: lost for good, and no part of the power law
_MOST_POINTS = 8.0  # that a curve counts for: neighbouring epochs scatter alike
_SLOPE, _SLOPE_SD, _SLOPES = 0.8, 0.5, (0.05, 1.8)  # expected before any curve, and its bounds
_BEND = 0.4  # standard deviation of what the slope will change by, as a share of it
_STEEP = 1.0  # slope that a curve near zero may come to
_OWN_SLOPE = 0.25  # standard deviation of a cell's slope, as a share of the common one
_WIGGLE, _WIGGLE_WEIGHT = 0.15, 4.0  # of the logarithm of the error; worth so many residuals
_SEED = 0.5  # of the wiggle, for an end that is extrapolated
FOUR_OF_FIVE = 1.28  # standard deviations


@dataclass(frozen=True, slots=True)
class Outlook:
    """mAP@0.5 to expect at the end of the whole run; it lies in the interval 4 times of 5."""

    map50: float
    low: float
    high: float


def outlook(curve: Sequence[float], epochs: int) -> Outlook | None:
    """What a curve by itself lets expect; None where learning has not begun."""
    trend = Trend.of(curve)
    return None if trend is None else Shape.of([trend]).end(trend, epochs).outlook


def log_error(map50: float) -> float:
    """log(1 - mAP@0.5), of which nothing below `_LEAST_ERROR` counts."""
    return math.log(max(1 - map50, _LEAST_ERROR))


@dataclass(frozen=True, slots=True)
class Trend:
    """The later half of a curve since learning began, in logarithms.

    Attributes:
        begun: First epoch since which mAP@0.5 stayed above `BEGUN`.
        delay: Epochs that do not count for the power law.
        points: log(epoch - delay) and log(1 - mAP@0.5).
        best: mAP@0.5 of the best epoch so far.
    """

    begun: int
    delay: float
    points: tuple[tuple[float, float], ...]
    best: float

    @classmethod
    def of(cls, curve: Sequence[float], best: float | None = None) -> Trend | None:
        """The trend; None where learning has not begun, for two epochs at least.

        Without ``best`` that is the highest of the curve.
        """
        begun = max((e for e, value in enumerate(curve, 1) if value <= BEGUN), default=0) + 1
        if begun >= len(curve):
            return None
        first = min(begun + (len(curve) - begun + 1) // 2, len(curve) - 1)
        errors = {e: log_error(curve[e - 1]) for e in range(first, len(curve) + 1)}
        delay = _DELAY * (begun - 1)
        points = ((math.log(e - delay), error) for e, error in errors.items())
        return cls(begun, delay, tuple(points), max(curve) if best is None else best)

    @property
    def epoch(self) -> float:
        """Mean log(epoch - delay)."""
        return math.fsum(x for x, _ in self.points) / len(self.points)

    @property
    def error(self) -> float:
        """Mean log(error)."""
        return math.fsum(y for _, y in self.points) / len(self.points)

    @property
    def weight(self) -> float:
        """What each point counts for."""
        return min(_MOST_POINTS / len(self.points), 1.0)

    @property
    def spread(self) -> float:
        """Sum of squares of log(epoch - delay)."""
        return self.weight * math.fsum((x - self.epoch) ** 2 for x, _ in self.points)

    @property
    def fall(self) -> float:
        """Sum of products of log(epoch - delay) and log(error), its sign turned."""
        epoch, error = self.epoch, self.error
        return -self.weight * math.fsum((x - epoch) * (y - error) for x, y in self.points)

    def residuals(self, slope: float) -> float:
        """Sum of squares around a line of this slope."""
        epoch, error = self.epoch, self.error
        off = (y - error + slope * (x - epoch) for x, y in self.points)
        return self.weight * math.fsum(d * d for d in off)


@dataclass(frozen=True, slots=True)
class End:
    """log(error) at the end of a run, and how uncertain it is.

    Attributes:
        error: log(1 - mAP@0.5).
        sd: Standard deviation by the curve's level, its own slope and its seed.
        common_sd: Standard deviation by the common slope, which moves all curves alike.
        most: Error of the best epoch so far, beyond which none is expected.
    """

    error: float
    sd: float
    common_sd: float
    most: float = 1.0

    def error_at(self, deviation: float) -> float:
        """The error, not its logarithm, that far from the one to expect."""
        return min(math.exp(self.error + deviation), self.most)

    @property
    def map50(self) -> float:
        """mAP@0.5 to expect."""
        return 1 - self.error_at(0)

    @property
    def outlook(self) -> Outlook:
        """The same with its interval."""
        reach = FOUR_OF_FIVE * math.hypot(self.sd, self.common_sd)
        return Outlook(self.map50, 1 - self.error_at(reach), 1 - self.error_at(-reach))

    @classmethod
    def mean(cls, ends: Sequence[End]) -> End:
        """That of several seeds."""
        return cls(
            math.fsum(e.error for e in ends) / len(ends),
            math.fsum(e.sd for e in ends) / len(ends) ** 1.5,
            math.fsum(e.common_sd for e in ends) / len(ends),
            math.fsum(e.most for e in ends) / len(ends),
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """What the curves of a study have in common.

    Attributes:
        slope: By which log(error) falls with log(epoch), once learning has begun.
        slope_sd: Its standard deviation.
        wiggle: Standard deviation of log(error) around that, and of the ends of a cell's seeds.
    """

    slope: float
    slope_sd: float
    wiggle: float

    @classmethod
    def of(cls, trends: Sequence[Trend]) -> Shape:
        """The shape of these curves; without one, what is expected of any."""
        slope, _ = _fit_slope(trends, _WIGGLE, _SLOPE, _SLOPE_SD)
        own = [_fit_slope([t], _WIGGLE, slope, _OWN_SLOPE * slope)[0] for t in trends]
        squares = math.fsum(t.residuals(s) for t, s in zip(trends, own, strict=True))
        freedom = math.fsum(t.weight * len(t.points) - 1 for t in trends)
        variance = (_WIGGLE_WEIGHT * _WIGGLE**2 + squares) / (_WIGGLE_WEIGHT + freedom)
        wiggle = math.sqrt(variance)
        return cls(*_fit_slope(trends, wiggle, _SLOPE, _SLOPE_SD), wiggle)

    def end(self, trend: Trend, epochs: float) -> End:
        """What to expect of a curve of this shape after so many epochs."""
        slope, sd = _fit_slope([trend], self.wiggle, self.slope, _OWN_SLOPE * self.slope)
        ahead = math.log(epochs - trend.delay) - trend.epoch
        level = self.wiggle / math.sqrt(trend.weight * len(trend.points))
        far = math.exp(trend.error)
        bend = _BEND * (self.slope * (1 - far) + max(self.slope, _STEEP) * far)
        return End(
            trend.error - slope * ahead,
            math.hypot(level, sd * ahead, self.seed_sd),
            math.hypot(self.slope_sd, bend) * ahead,
            1 - trend.best,
        )

    @property
    def seed_sd(self) -> float:
        """What the seed adds to the standard deviation of an end that is extrapolated."""
        return _SEED * self.wiggle


def _fit_slope(
    trends: Sequence[Trend], wiggle: float, mean: float, sd: float
) -> tuple[float, float]:
    """Slope and its standard deviation after the trends; before them ``mean`` and ``sd``."""
    certainty = 1 / sd**2 + math.fsum(t.spread for t in trends) / wiggle**2
    slope = (mean / sd**2 + math.fsum(t.fall for t in trends) / wiggle**2) / certainty
    return min(max(slope, _SLOPES[0]), _SLOPES[1]), certainty**-0.5
