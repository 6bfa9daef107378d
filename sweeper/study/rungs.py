"""Which cells go on at a rung of the whole run, and which one is taken after the last.

Once learning has begun, the error ``1 - mAP@0.5`` falls about as a power of the epoch. The power
is common to the cells of a study but for a part (`_OWN_SLOPE`); how much a curve wiggles around its
power law stands for the noise between seeds, of which mostly only one has run. Both are estimated
from all curves that stand at a rung, with priors that matter while there are few points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SHARES = (0.15, 0.3, 0.5)  # of the whole run: the rungs
_FEWEST_EPOCHS = 10  # of a run that is worth dividing
_FIRST_RUNG = 3

_BEGUN = 0.05  # mAP@0.5 that no untrained model holds for two epochs
_LEAST_ERROR = 0.002
_SLOPE, _SLOPE_SD, _SLOPES = 0.8, 0.5, (0.05, 1.8)
_OWN_SLOPE = 0.25  # standard deviation of a cell's slope, as a share of the common one
_WIGGLE, _WIGGLE_WEIGHT = 0.15, 4.0  # of the logarithm of the error; worth so many residuals
_MARGIN = 0.01  # mAP@0.5 that nobody would pay time for
_SURE = 1.28  # standard deviations: nine of ten such verdicts are right


@dataclass(frozen=True, slots=True)
class Standing:
    """A cell at a rung.

    Attributes:
        number: Of its trial.
        label: The cell as people say it.
        epochs: Of the whole run.
        curve: mAP@0.5 after each epoch trained so far.
        epoch_s: Median time of an epoch with its validation, the first left out, seconds.
        spare_gib: Memory that the budget leaves free; None where it is not known.
        effective_batch: Images per optimizer step.
    """

    number: int
    label: str
    epochs: int
    curve: tuple[float, ...]
    epoch_s: float
    spare_gib: float | None
    effective_batch: int

    @property
    def whole_s(self) -> float:
        """Time of the whole run, seconds."""
        return self.epochs * self.epoch_s

    @property
    def cheapness(self) -> tuple[float, float, int]:
        """Ends first, then leaves more memory, then came first: the smallest is preferred."""
        return (self.whole_s, -(self.spare_gib or 0.0), self.number)


@dataclass(frozen=True, slots=True)
class Outlook:
    """mAP@0.5 to expect at the end of the whole run, and an interval that holds it 4 of 5 times."""

    map50: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who goes on from a rung, by number, and for each of the others why not."""

    going: tuple[int, ...]
    out: dict[int, str]


def default_rungs(epochs: int) -> tuple[int, ...]:
    """Where a run of so many epochs is judged; nowhere when it is too short to be divided."""
    if epochs < _FEWEST_EPOCHS:
        return ()
    return tuple(sorted({max(_FIRST_RUNG, round(share * epochs)) for share in _SHARES}))


def outlook(curve: Sequence[float], epochs: int) -> Outlook | None:
    """What a curve by itself lets expect; None where learning has not begun."""
    trend = _Trend.of(curve)
    return None if trend is None else _outlook(_Shape.of([trend]), trend, epochs)


def outlooks(standings: Sequence[Standing]) -> dict[int, Outlook | None]:
    """What the curves together let expect, by number: the basis of every verdict here."""
    field = _Field.of(standings)
    return {
        s.number: _outlook(field.shape, field.trends[s.number], s.epochs)
        if s.number in field.trends
        else None
        for s in standings
    }


def judge_rung(standings: Sequence[Standing]) -> Judgement:
    """Judge all cells that stand at a rung together, whatever their order.

    A cell goes out when it is surely behind another one, or when one that ends sooner is surely
    no worse. Between cells of one effective batch the second holds until the contrary is shown.
    """
    field = _Field.of(standings)
    out: dict[int, str] = {}
    going: list[Standing] = []
    for cell in sorted(standings, key=lambda s: s.cheapness):
        reason = field.behind(cell) or field.no_better(cell, going)
        if reason:
            out[cell.number] = f"stopped after {len(cell.curve)} of {cell.epochs} epochs: {reason}"
        else:
            going.append(cell)
    return Judgement(tuple(sorted(s.number for s in going)), out)


def pick(standings: Sequence[Standing]) -> int:
    """The number of the cell to take, after the last rung.

    Of those that cannot be told from the best expected end, the one whose whole run ends first,
    then the one with more memory to spare. Where nothing has begun to learn, that is all of them.
    """
    field = _Field.of(standings)
    begun = [s for s in standings if s.number in field.trends] or list(standings)
    equals = [s for s in begun if not field.behind(s, margin=0.0)]
    return min(equals, key=lambda s: s.cheapness).number


@dataclass(frozen=True, slots=True)
class _Trend:
    """The later half of a curve since learning began, in logarithms.

    Attributes:
        begun: First epoch since which mAP@0.5 stayed above `_BEGUN`.
        epochs: log(epoch).
        errors: log(1 - mAP@0.5).
    """

    begun: int
    epochs: tuple[float, ...]
    errors: tuple[float, ...]

    @classmethod
    def of(cls, curve: Sequence[float]) -> _Trend | None:
        begun = max((e for e, value in enumerate(curve, 1) if value <= _BEGUN), default=0) + 1
        if len(curve) - begun < 1:
            return None
        first = min(begun + (len(curve) - begun + 1) // 2, len(curve) - 1)
        points = [(e, curve[e - 1]) for e in range(first, len(curve) + 1)]
        return cls(
            begun,
            tuple(math.log(e) for e, _ in points),
            tuple(math.log(max(1 - value, _LEAST_ERROR)) for _, value in points),
        )

    @property
    def count(self) -> int:
        return len(self.epochs)

    @property
    def epoch(self) -> float:
        return math.fsum(self.epochs) / self.count

    @property
    def error(self) -> float:
        return math.fsum(self.errors) / self.count

    @property
    def spread(self) -> float:
        return math.fsum((x - self.epoch) ** 2 for x in self.epochs)

    @property
    def fall(self) -> float:
        points = zip(self.epochs, self.errors, strict=True)
        return -math.fsum((x - self.epoch) * (y - self.error) for x, y in points)

    def residuals(self, slope: float) -> float:
        points = zip(self.epochs, self.errors, strict=True)
        return math.fsum((y - self.error + slope * (x - self.epoch)) ** 2 for x, y in points)


def _fit_slope(
    trends: Sequence[_Trend], wiggle: float, mean: float, sd: float
) -> tuple[float, float]:
    """Slope and its standard deviation after the trends, before them ``mean`` and ``sd``."""
    weight = 1 / sd**2 + math.fsum(t.spread for t in trends) / wiggle**2
    slope = (mean / sd**2 + math.fsum(t.fall for t in trends) / wiggle**2) / weight
    return min(max(slope, _SLOPES[0]), _SLOPES[1]), weight**-0.5


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the curves of a study have in common: the slope, and the wiggle around it."""

    slope: float
    slope_sd: float
    wiggle: float

    @classmethod
    def of(cls, trends: Sequence[_Trend]) -> _Shape:
        slope, _ = _fit_slope(trends, _WIGGLE, _SLOPE, _SLOPE_SD)
        own = [_fit_slope([t], _WIGGLE, slope, _OWN_SLOPE * slope)[0] for t in trends]
        squares = math.fsum(t.residuals(s) for t, s in zip(trends, own, strict=True))
        freedom = sum(t.count - 1 for t in trends)
        wiggle = math.sqrt(
            (_WIGGLE_WEIGHT * _WIGGLE**2 + squares) / (_WIGGLE_WEIGHT + freedom)
        )
        return cls(*_fit_slope(trends, wiggle, _SLOPE, _SLOPE_SD), wiggle)

    def end(self, trend: _Trend, epochs: float) -> tuple[float, float]:
        """The logarithm of the error after ``epochs``, and its standard deviation.

        Uncertain are the level, the cell's own slope and the seed; not in it is the common slope.
        """
        slope, sd = _fit_slope([trend], self.wiggle, self.slope, _OWN_SLOPE * self.slope)
        ahead = math.log(epochs) - trend.epoch
        seed = self.wiggle
        return (
            trend.error - slope * ahead,
            math.hypot(self.wiggle / math.sqrt(trend.count), sd * ahead, seed),
        )

    def common(self, trend: _Trend, epochs: float) -> float:
        """The standard deviation that the common slope adds, alike for all cells."""
        return self.slope_sd * (math.log(epochs) - trend.epoch)


def _outlook(shape: _Shape, trend: _Trend, epochs: int) -> Outlook:
    error, own = shape.end(trend, epochs)
    reach = _SURE * math.hypot(own, shape.common(trend, epochs))
    return Outlook(*(max(1 - math.exp(error + r), 0.0) for r in (0.0, reach, -reach)))


@dataclass(frozen=True, slots=True)
class _Gap:
    """How far one cell's mAP@0.5 will end below another's: expected, at least, at most."""

    expected: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class _Field:
    """The cells at a rung, with the trend of each that has begun to learn, by number."""

    standings: Sequence[Standing]
    trends: dict[int, _Trend]
    shape: _Shape

    @classmethod
    def of(cls, standings: Sequence[Standing]) -> _Field:
        ordered = sorted(standings, key=lambda s: s.number)
        found = {s.number: _Trend.of(s.curve) for s in ordered}
        trends = {number: trend for number, trend in found.items() if trend is not None}
        return cls(ordered, trends, _Shape.of(list(trends.values())))

    def gap(self, cell: Standing, other: Standing) -> _Gap:
        """How far the cell will end below the other one."""
        ours, our_sd = self.shape.end(self.trends[cell.number], cell.epochs)
        theirs, their_sd = self.shape.end(self.trends[other.number], other.epochs)
        reach = _SURE * math.hypot(our_sd, their_sd)
        common = _SURE * self.shape.common(self.trends[other.number], other.epochs)
        level = [math.exp(theirs + c) for c in (0.0, common, -common)]

        def below(ratio: float) -> list[float]:
            return [min(at, 1.0) * (math.exp(ratio) - 1) for at in level]

        return _Gap(
            below(ours - theirs)[0],
            min(below(ours - theirs - reach)),
            max(below(ours - theirs + reach)),
        )

    def behind(self, cell: Standing, margin: float = _MARGIN) -> str:
        """Why the cell is surely behind the best one; empty where it is not."""
        rivals = [s for s in self.standings if s.number in self.trends and s is not cell]
        if not rivals:
            return ""
        best = min(
            rivals, key=lambda s: (self.shape.end(self.trends[s.number], s.epochs)[0], s.number)
        )
        return self._behind(cell, best, margin)

    def _behind(self, cell: Standing, best: Standing, margin: float) -> str:
        expected = 1 - math.exp(self.shape.end(self.trends[best.number], best.epochs)[0])
        if cell.number not in self.trends:
            return self._never_catches_up(cell, best, expected)
        gap = self.gap(cell, best)
        if gap.least <= margin:
            return ""
        return (
            f"{cell.curve[-1]:.2f}, {self._expected(cell):.2f} expected at the end, behind "
            f"{best.label} ({expected:.2f}) by {100 * gap.expected:.0f} points, noise "
            f"{100 * (gap.expected - gap.least):.0f}"
        )

    def _never_catches_up(self, cell: Standing, best: Standing, expected: float) -> str:
        """Why a cell without a trend is beaten, even if from now on it learns as the best did."""
        trend = self.trends[best.number]
        lost = len(cell.curve) + 1 - trend.begun
        if lost <= 0 or lost >= cell.epochs:
            return ""
        at_best = self.shape.end(trend, cell.epochs - lost)[0]
        gap = math.exp(at_best) - (1 - expected)
        noise = _SURE * math.sqrt(2) * self.shape.wiggle * (1 - expected)
        if gap <= max(noise, _MARGIN):
            return ""
        return (
            f"learning has not begun, {1 - math.exp(at_best):.2f} at best at the end, behind "
            f"{best.label} ({expected:.2f}) by {100 * gap:.0f} points, noise {100 * noise:.0f}"
        )

    def no_better(self, cell: Standing, sooner: Sequence[Standing]) -> str:
        """Why one of those that end sooner decides for the cell; empty where none does."""
        if cell.number not in self.trends:
            return ""
        for other in sooner:
            if other.number not in self.trends:
                continue
            gap = self.gap(other, cell)  # what the cell may be better by
            alike = other.effective_batch == cell.effective_batch
            if gap.most <= _MARGIN or (alike and gap.least <= 0):
                times = cell.whole_s / other.whole_s
                return (
                    f"{cell.curve[-1]:.2f}, {self._expected(cell):.2f} expected at the end, "
                    f"cannot be told from {other.label} ({self._expected(other):.2f}), "
                    f"which ends {times:.2f} times as fast"
                )
        return ""

    def _expected(self, cell: Standing) -> float:
        return 1 - math.exp(self.shape.end(self.trends[cell.number], cell.epochs)[0])
