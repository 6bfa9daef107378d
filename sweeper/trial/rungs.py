"""Which cells go on at a rung of the whole run, and which one is taken after the last."""

from __future__ import annotations

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.numbers import count
from sweeper.trial.curves import FOUR_OF_FIVE, End, Outlook, Shape, Trend, log_error

__all__ = [
    "MARGIN",
    "Choice",
    "Gap",
    "Judgement",
    "Outlook",
    "Standing",
    "choose",
    "default_rungs",
    "ends",
    "judge_rung",
    "leads",
    "pick",
]

_SHARES = (0.15, 0.25, 0.35)  # of the whole run: the rungs
_FEWEST_EPOCHS = 10  # of a run that is worth dividing
_FIRST_RUNG = 3

MARGIN = 0.01  # mAP@0.5 that nobody would train longer for
_SURE = 1.15  # standard deviations: seven of eight verdicts that end a trial are right
_CHOICE_MARGIN = 0.002
_LIKELY = 0.15  # of the choice in the end 11 of 20, as something has to be chosen
_SEEDS = 4.0  # differences between seeds that the noise by the curves is worth


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
        reached: mAP@0.5 that the whole run came to; None before its end.
    """

    number: int
    label: str
    epochs: int
    curve: tuple[float, ...]
    epoch_s: float
    spare_gib: float | None
    effective_batch: int
    reached: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who goes on from a rung, by number, and for each of the others why not."""

    going: tuple[int, ...]
    out: dict[int, str]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which cell is taken.

    Attributes:
        order: A trial of each cell: of the one taken, then of the others, the best expected end
            first.
        passed: Why each of the others is not taken, by label.
    """

    order: tuple[int, ...]
    passed: dict[str, str]


def default_rungs(epochs: int) -> tuple[int, ...]:
    """Where a run of so many epochs is judged; nowhere when it is too short to be divided."""
    if epochs < _FEWEST_EPOCHS:
        return ()
    return tuple(sorted({max(_FIRST_RUNG, round(share * epochs)) for share in _SHARES}))


def judge_rung(standings: Sequence[Standing]) -> Judgement:
    """Judge all cells that stand at a rung together, whatever their order.

    A cell goes out when it is surely behind the best one, or when one that ends sooner is surely
    no worse; between cells of one effective batch the second holds until the contrary is shown.
    Standings with the same label are seeds of one cell: their mean is judged.
    """
    field = _Field.of(standings)
    out: dict[int, str] = {}
    going: list[_Cell] = []
    for cell in field.cells:
        reason = field.behind(cell, _SURE, MARGIN) or field.no_better(cell, going)
        if not reason:
            going.append(cell)
            continue
        for s in cell.seeds:
            so_far = f"{len(s.curve)} of {s.epochs} epochs: {field.now_and_then(cell)}"
            out[s.number] = f"stopped after {so_far}{reason}"
    return Judgement(tuple(sorted(s.number for cell in going for s in cell.seeds)), out)


def pick(standings: Sequence[Standing]) -> int:
    """The number of the trial to take; see `choose`."""
    return choose(standings).order[0]


def choose(standings: Sequence[Standing]) -> Choice:
    """The choice after the last rung, or between whole runs.

    Of the cells that cannot be told from the best end, the one whose whole run ends first, then
    the one with more memory to spare. Where nothing has begun to learn, that is all of them.

    Raises:
        ValueError: There is no standing.
    """
    field = _Field.of(standings)
    begun = [cell for cell in field.cells if field.knows(cell)] or field.cells
    behind = {c.label: field.behind(c, _LIKELY, _CHOICE_MARGIN) for c in begun}
    taken = next(c for c in begun if not behind[c.label])
    others = sorted((c for c in field.cells if c is not taken), key=field.by_end)
    return Choice(
        tuple(cell.stands_for.number for cell in (taken, *others)),
        {c.label: behind.get(c.label) or field.no_sooner(c, taken) for c in others},
    )


def ends(standings: Sequence[Standing]) -> dict[str, Outlook]:
    """What each cell comes to at its end, by label, as the mean over its seeds.

    Of a whole run it is what was reached, and the interval that of another seed. A cell of which
    nothing can be expected yet is left out.
    """
    field = _Field.of(standings)
    return {label: end.outlook for label, end in field.ends.items()}


def leads(standings: Sequence[Standing], label: str) -> dict[str, Gap]:
    """How far the end of a cell lies above that of each other, 4 times of 5."""
    field = _Field.of(standings)
    upper = field.ends.get(label)
    others = field.ends.items() if upper else ()
    return {n: Gap.of(end, upper, FOUR_OF_FIVE) for n, end in others if upper and n != label}


@dataclass(frozen=True, slots=True)
class _Cell:
    """The seeds of one cell, with the trends of those that have begun to learn."""

    seeds: tuple[Standing, ...]
    trends: tuple[Trend, ...]

    @classmethod
    def of(cls, seeds: Sequence[Standing]) -> _Cell:
        """The cell of these standings."""
        trends = (Trend.of(s.curve) for s in seeds)
        return cls(tuple(seeds), tuple(t for t in trends if t is not None))

    @property
    def label(self) -> str:
        return self.seeds[0].label

    @property
    def epochs(self) -> int:
        return self.seeds[0].epochs

    @property
    def trained(self) -> int:
        return len(self.seeds[0].curve)

    @property
    def now(self) -> float:
        """mAP@0.5 after the last epoch, mean over seeds."""
        return math.fsum(s.curve[-1] for s in self.seeds) / len(self.seeds)

    @property
    def whole_s(self) -> float:
        """Time of the whole run, seconds."""
        return self.epochs * statistics.median(s.epoch_s for s in self.seeds)

    @property
    def reached(self) -> list[float]:
        """mAP@0.5 of the seeds whose whole run has ended."""
        return [s.reached for s in self.seeds if s.reached is not None]

    def expected(self, shape: Shape, epochs: int) -> End:
        """What to expect after so many epochs, once learning has begun: the mean over seeds."""
        return End.mean([shape.end(trend, epochs) for trend in self.trends])

    def end(self, shape: Shape, seed_sd: float) -> End | None:
        """What was reached at the end of the whole run, else what to expect there."""
        if reached := self.reached:
            return End(log_error(statistics.fmean(reached)), seed_sd / len(reached) ** 0.5, 0.0)
        return self.expected(shape, self.epochs) if self.trends else None

    @property
    def stands_for(self) -> Standing:
        """The seed to go on with."""
        return max(self.seeds, key=lambda s: (s.curve[-1:], -s.number))

    @property
    def preference(self) -> tuple[float, float, int]:
        """Ends first, then leaves more memory, then has the lower number."""
        spare = min(s.spare_gib or 0.0 for s in self.seeds)
        return (self.whole_s, -spare, self.seeds[0].number)


@dataclass(frozen=True, slots=True)
class Gap:
    """How far one mAP@0.5 ends below another: expected, at least, at most."""

    expected: float
    least: float
    most: float

    @classmethod
    def of(cls, lower: End, upper: End, sure: float) -> Gap:
        """The gap, so many standard deviations sure.

        The common slope moves both ends alike, so it makes the gap wider or narrower.
        """
        reach = sure * math.hypot(lower.sd, upper.sd)
        common = sure * upper.common_sd

        def points(ratio: float, shift: float) -> float:
            upper_error = min(math.exp(upper.error + shift), 1.0)
            return min(upper_error * math.exp(ratio), 1.0) - upper_error

        ratio = lower.error - upper.error
        return cls(
            points(ratio, 0.0),
            min(points(ratio - reach, shift) for shift in (-common, common)),
            max(points(ratio + reach, shift) for shift in (-common, common)),
        )


@dataclass(frozen=True, slots=True)
class _Field:
    """The cells at a rung.

    Attributes:
        cells: The one that ends first in front.
        shape: What their curves have in common.
        ends: What to expect of each cell that has begun to learn or has ended, by label.
        leaders: The cells with the two best ends, the best first.
    """

    cells: list[_Cell]
    shape: Shape
    ends: dict[str, End]
    leaders: list[_Cell]

    @classmethod
    def of(cls, standings: Sequence[Standing]) -> _Field:
        """The cells that these standings make up."""
        if not standings:
            raise ValueError("standings cannot be empty.")
        by_label: dict[str, list[Standing]] = defaultdict(list)
        for s in sorted(standings, key=lambda s: s.number):
            by_label[s.label].append(s)
        cells = [_Cell.of(seeds) for seeds in by_label.values()]
        shape = Shape.of([trend for cell in cells for trend in cell.trends])
        seed_sd = _seed_sd([c.reached for c in cells], shape.seed_sd)
        ends = {c.label: end for c in cells if (end := c.end(shape, seed_sd)) is not None}
        cells.sort(key=lambda c: c.preference)
        known = (c for c in cells if c.label in ends)
        leaders = heapq.nsmallest(2, known, key=lambda c: ends[c.label].error)
        return cls(cells, shape, ends, leaders)

    def knows(self, cell: _Cell) -> bool:
        """Whether there is an end to expect."""
        return cell.label in self.ends

    def by_end(self, cell: _Cell) -> tuple[float, int]:
        """For sorting: the best end first, those that have not begun last."""
        end = self.ends.get(cell.label)
        return (end.error if end else math.inf, cell.seeds[0].number)

    def behind(self, cell: _Cell, sure: float, margin: float) -> str:
        """Why the cell is behind the best one by more than the margin; empty where it is not."""
        best = next((leader for leader in self.leaders if leader is not cell), None)
        if best is None:
            return ""
        if not self.knows(cell):
            return self._cannot_catch_up(cell, best, margin)
        lower, upper = self.ends[cell.label], self.ends[best.label]
        if Gap.of(lower, upper, sure).least <= margin:
            return ""
        gap = Gap.of(lower, upper, _SURE)
        likely = "" if sure >= _SURE else "likely "
        return likely + self._by(best, gap.expected, gap.expected - gap.least)

    def no_sooner(self, cell: _Cell, taken: _Cell) -> str:
        """Why the one taken is preferred to a cell that is not behind."""
        return self._tied(cell, taken) if self.knows(cell) else "learning has not begun"

    def no_better(self, cell: _Cell, sooner: Sequence[_Cell]) -> str:
        """Why one that ends sooner decides for the cell; empty where none does."""
        for other in sooner if self.knows(cell) else ():
            if self.knows(other) and self._decides(other, cell):
                return self._tied(cell, other)
        return ""

    def _tied(self, cell: _Cell, sooner: _Cell) -> str:
        ratio = cell.whole_s / sooner.whole_s if sooner.whole_s else 1.0
        return f"cannot be told from {self._with_end(sooner)}, {_sooner(ratio)}"

    def _with_end(self, cell: _Cell) -> str:
        return f"{cell.label} ({self.ends[cell.label].map50:.2f})"

    def _decides(self, other: _Cell, cell: _Cell) -> bool:
        gap = Gap.of(self.ends[other.label], self.ends[cell.label], _SURE)
        if other.seeds[0].effective_batch == cell.seeds[0].effective_batch:
            return gap.least <= 0
        return gap.most <= MARGIN

    def _cannot_catch_up(self, cell: _Cell, best: _Cell, margin: float) -> str:
        """Why a cell is beaten even if from now on it learns as the best one did."""
        begun = min((trend.begun for trend in best.trends), default=cell.trained + 1)
        late = cell.trained + 1 - begun
        if not 0 < late < cell.epochs:
            return ""
        at_best, end = best.expected(self.shape, cell.epochs - late), self.ends[best.label]
        gap = end.map50 - at_best.map50
        noise = _SURE * math.sqrt(2) * self.shape.seed_sd * (1 - at_best.map50)
        if gap <= margin + noise:
            return ""
        now = f"learning has not begun, {at_best.map50:.2f} at best at the end, "
        return now + self._by(best, gap, noise)

    def now_and_then(self, cell: _Cell) -> str:
        """Where a cell is and what is expected of its end; empty before learning has begun."""
        end = self.ends.get(cell.label)
        return f"{cell.now:.2f}, {end.map50:.2f} expected at the end, " if end else ""

    def _by(self, best: _Cell, gap: float, noise: float) -> str:
        amount, noise_amount = _points(gap), _points(noise).split()[0]
        return f"behind {self._with_end(best)} by {amount}, noise {noise_amount}"


def _seed_sd(reached: Sequence[Sequence[float]], by_curves: float) -> float:
    """Noise of log(error) between seeds: of cells with several, and by the curves."""
    errors = [[log_error(map50) for map50 in cell] for cell in reached if len(cell) > 1]
    squares = math.fsum(statistics.variance(e) * (len(e) - 1) for e in errors)
    freedom = sum(len(e) - 1 for e in errors)
    return math.sqrt((_SEEDS * by_curves**2 + squares) / (_SEEDS + freedom))


def _points(gap: float) -> str:
    return count(round(100 * gap), "point") if gap >= 0.015 else f"{100 * gap:.1f} points"


def _sooner(times: float) -> str:
    return f"which ends {times:.2f} times as fast" if times >= 1.005 else "which ends as soon"
