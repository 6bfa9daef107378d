"""The cells that stand at a rung: what their ends come to, and how these compare."""

from __future__ import annotations

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.trial.curves import BEGUN, End, Shape, Trend, log_error
from sweeper.trial.gap import Gap

MARGIN = 0.01  # mAP@0.5 that nobody would train longer for
SURE = 1.15  # standard deviations: seven of eight verdicts that end a trial are right
_SEEDS = 4.0  # differences between seeds that the noise by the curves is worth


@dataclass(frozen=True, slots=True)
class Standing:
    """A cell at a rung.

    Attributes:
        number: Of its trial.
        label: The cell as people say it.
        epochs: Of the whole run.
        curve: mAP@0.5 after each epoch trained so far.
        epoch_s: Median time of an epoch with its validation, the first left out, without what a
            busy machine let it wait for a core; seconds.
        spare_gib: Memory that the budget leaves free; None where it is not known.
        effective_batch: Images per optimizer step.
        reached: mAP@0.5 that the whole run came to; None before its end.
        best: mAP@0.5 of the epoch that is best in mAP@0.5:0.95 so far; None where only the curve
            is known.
        busy: Whether other programs kept it waiting for a core, so that its times are rough.
    """

    number: int
    label: str
    epochs: int
    curve: tuple[float, ...]
    epoch_s: float
    spare_gib: float | None
    effective_batch: int
    reached: float | None = None
    best: float | None = None
    busy: bool = False

    @property
    def best_so_far(self) -> float:
        """mAP@0.5 of the best epoch so far: without ``best`` the highest of the curve."""
        return max(self.curve, default=0.0) if self.best is None else self.best


@dataclass(frozen=True, slots=True)
class Cell:
    """The seeds of one cell, with the trends of those that have begun to learn."""

    seeds: tuple[Standing, ...]
    trends: tuple[Trend, ...]

    @classmethod
    def of(cls, seeds: Sequence[Standing]) -> Cell:
        """The cell of these standings."""
        trends = (Trend.of(s.curve, s.best_so_far) for s in seeds)
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
    def best_so_far(self) -> float:
        """mAP@0.5 of the best epoch of any seed."""
        return max(s.best_so_far for s in self.seeds)

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
class Field:
    """The cells at a rung.

    Attributes:
        cells: The one that ends first in front.
        shape: What their curves have in common.
        ends: What to expect of each cell that has begun to learn or has ended, by label.
        leaders: The cells with the two best ends, the best first.
    """

    cells: list[Cell]
    shape: Shape
    ends: dict[str, End]
    leaders: list[Cell]

    @classmethod
    def of(cls, standings: Sequence[Standing]) -> Field:
        """The cells that these standings make up."""
        if not standings:
            raise ValueError("standings cannot be empty.")
        by_label: dict[str, list[Standing]] = defaultdict(list)
        for s in sorted(standings, key=lambda s: s.number):
            by_label[s.label].append(s)
        cells = [Cell.of(seeds) for seeds in by_label.values()]
        shape = Shape.of([trend for cell in cells for trend in cell.trends])
        seed_sd = _seed_sd([c.reached for c in cells], shape.wiggle)
        ends = {c.label: end for c in cells if (end := c.end(shape, seed_sd)) is not None}
        cells.sort(key=lambda c: c.preference)
        known = (c for c in cells if c.label in ends)
        leaders = heapq.nsmallest(2, known, key=lambda c: -ends[c.label].map50)
        return cls(cells, shape, ends, leaders)

    def knows(self, cell: Cell) -> bool:
        """Whether there is an end to expect."""
        return cell.label in self.ends

    def by_end(self, cell: Cell) -> tuple[float, float, int]:
        """For sorting: the best end first; those of none to expect last, by their best so far."""
        end = self.ends.get(cell.label)
        return (-end.map50 if end else math.inf, -cell.best_so_far, cell.seeds[0].number)

    def behind(self, cell: Cell, sure: float, margin: float) -> str:
        """Why the cell is behind the best one by more than the margin; empty where it is not."""
        best = next((leader for leader in self.leaders if leader is not cell), None)
        if best is None:
            return ""
        if not self.knows(cell):
            return self._cannot_catch_up(cell, best, margin)
        lower, upper = self.ends[cell.label], self.ends[best.label]
        if Gap.of(lower, upper, sure).least <= margin:
            return ""
        gap = Gap.of(lower, upper, SURE)
        by = self._by(best, gap.expected, gap.expected - gap.least)
        if gap.least <= 0:
            return f"expected {by}"
        return by if sure >= SURE else f"likely {by}"

    def no_sooner(self, cell: Cell, taken: Cell) -> str:
        """Why the one taken is preferred to a cell that is not behind."""
        return self._tied(cell, taken) if self.knows(cell) else _unknown(cell)

    def no_better(self, cell: Cell, sooner: Sequence[Cell]) -> str:
        """Why one that ends sooner decides for the cell; empty where none does."""
        for other in sooner if self.knows(cell) else ():
            if self.knows(other) and self._decides(other, cell):
                return self._tied(cell, other)
        return ""

    def _tied(self, cell: Cell, sooner: Cell) -> str:
        ratio = cell.whole_s / sooner.whole_s if sooner.whole_s else 1.0
        busy = any(seed.busy for seed in (*cell.seeds, *sooner.seeds))
        return f"not known to be better than {self._with_end(sooner)}, {_sooner(ratio, busy)}"

    def _with_end(self, cell: Cell) -> str:
        return f"{cell.label} ({self.ends[cell.label].map50:.2f})"

    def _decides(self, other: Cell, cell: Cell) -> bool:
        gap = Gap.of(self.ends[other.label], self.ends[cell.label], SURE)
        if other.seeds[0].effective_batch == cell.seeds[0].effective_batch:
            return gap.least <= 0
        return gap.most <= MARGIN

    def _cannot_catch_up(self, cell: Cell, best: Cell, margin: float) -> str:
        """Why a cell is beaten even if from now on it learns as the best one did."""
        begun = min((trend.begun for trend in best.trends), default=cell.trained + 1)
        late = cell.trained + 1 - begun - _has_begun(cell)
        if not 0 < late < cell.epochs:
            return ""
        # The best one's error that many epochs before its end, which may lie behind it already.
        error = best.expected(self.shape, cell.epochs - late).error
        at_best, end = max(1 - math.exp(error), cell.best_so_far), self.ends[best.label]
        gap = end.map50 - at_best
        noise = SURE * math.sqrt(2) * self.shape.seed_sd * (1 - at_best)
        if gap <= margin + noise:
            return ""
        now = f"{_unknown(cell)}, {at_best:.2f} at best at the end, "
        return now + self._by(best, gap, noise)

    def expected(self, cell: Cell) -> str:
        """What is expected of a cell's end; empty before learning has begun."""
        end = self.ends.get(cell.label)
        return f"{end.map50:.2f} expected at the end, " if end else ""

    def _by(self, best: Cell, gap: float, noise: float) -> str:
        return f"behind {self._with_end(best)} by {_points(gap)} ± {_points(noise)} points"


def _has_begun(cell: Cell) -> bool:
    """Whether learning may have begun in the last epoch, which tells nothing of its course."""
    return any(s.curve and s.curve[-1] > BEGUN for s in cell.seeds)


def _unknown(cell: Cell) -> str:
    """Why nothing can be expected of a cell."""
    seen = any(max(s.curve, default=0.0) > BEGUN for s in cell.seeds)
    return f"learning has {'only just' if seen else 'not'} begun"


def _seed_sd(reached: Sequence[Sequence[float]], by_curves: float) -> float:
    """Noise of log(error) between seeds: of cells with several, and by the curves."""
    errors = [[log_error(map50) for map50 in cell] for cell in reached if len(cell) > 1]
    squares = math.fsum(statistics.variance(e) * (len(e) - 1) for e in errors)
    freedom = sum(len(e) - 1 for e in errors)
    return math.sqrt((_SEEDS * by_curves**2 + squares) / (_SEEDS + freedom))


def _points(gap: float) -> str:
    """A difference of mAP in points, without the word: ``3``, or ``1.2``."""
    return f"{100 * gap:.0f}" if gap >= 0.015 else f"{100 * gap:.1f}"


def _sooner(times: float, busy: bool) -> str:
    """How much sooner; without a figure, which the times of a busy machine do not give."""
    by = "sooner" if busy else f"{times:.2f} times as fast"
    ends = by if times >= 1.005 else "as soon"  # as printed, 1.00
    return f"which ends {ends}{' as far as a busy machine shows' if busy else ''}"
