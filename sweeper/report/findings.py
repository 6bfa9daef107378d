"""What a study found: its winner, what to compare with, and its Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sweeper.report.cells import CellSummary, cells_of
from sweeper.report.standing import standings_of
from sweeper.trial.curves import Outlook
from sweeper.trial.record import Outcome
from sweeper.trial.rungs import Standing, outlooks, pick
from sweeper.trial.study_record import RecordedStudy, RecordedTrial

BASELINE = "baseline"  # the name of the article's strategy
# Below this nobody would use the model, and a ranking of such numbers says nothing.
LEAST_MAP50 = 0.01


class Findings:
    """A study's cells, ranked and compared; each question is answered once."""

    def __init__(self, recorded: RecordedStudy) -> None:
        self.study, self.trials = recorded.study, recorded.trials
        self.unreadable, self.curve = recorded.unreadable, recorded.curve
        self.cells = cells_of(recorded.trials)

    @cached_property
    def ranked(self) -> list[CellSummary]:
        """The cells that completed, best mAP@0.5 first; of equals the faster one."""
        return sorted((c for c in self.cells if c.fits), key=_rank)

    @cached_property
    def winner(self) -> CellSummary | None:
        """The best cell; where some were confirmed with other seeds, the best of those.

        In a study that trained parts of the whole run: the one continued to its end, else the one
        that ends first among those that cannot be told from the best.
        """
        confirmed = [
            c for c in self.ranked if any(t.spec.confirms is not None for t in c.complete)
        ]
        if self.in_parts and not confirmed and self.ranked:
            finished = [c for c in self.ranked if c.first.result and not c.first.result.paused]
            return next(iter(finished), None) or self._picked()
        return next(iter(confirmed or self.ranked), None)

    def _picked(self) -> CellSummary:
        number = pick(self._standings)
        return next(c for c in self.ranked for t in c.complete if t.number == number)

    @cached_property
    def outlooks(self) -> dict[int, Outlook | None]:
        """What the trials of `ranked` let expect at the end of the whole run, by their numbers."""
        return outlooks(self._standings)

    @cached_property
    def _standings(self) -> list[Standing]:
        return standings_of([t for c in self.ranked for t in c.complete], self.curve)

    @cached_property
    def recommended(self) -> CellSummary | None:
        """The winner, unless it detects nothing."""
        enough = self.winner is not None and (self.winner.map50 or 0.0) >= LEAST_MAP50
        return self.winner if enough else None

    @cached_property
    def rival(self) -> CellSummary | None:
        """The best of the other cells with as many seeds as can be had."""
        others = [c for c in self.ranked if c is not self.winner]
        repeated = [c for c in others if len(c.complete) > 1]
        return next(iter(repeated or others), None)

    @cached_property
    def in_parts(self) -> bool:
        """Whether a trial was ended, as intended, before its whole run."""
        return any(t.result is not None and t.result.paused for t in self.trials)

    @cached_property
    def infeasible(self) -> list[CellSummary]:
        """The cells that do not fit, the smallest batch first."""
        cells = [c for c in self.cells if c.infeasible and not c.fits]
        return sorted(cells, key=lambda c: (c.spec.batch, c.spec.accumulate, not c.spec.amp))

    @cached_property
    def baseline(self) -> CellSummary | None:
        """The cell of the article's baseline strategy, whether it fits or not."""
        return next((c for c in self.cells if c.spec.strategy == BASELINE), None)

    @cached_property
    def reference(self) -> CellSummary | None:
        """What changes are counted against: the baseline, else the largest plain batch."""
        if self.baseline is not None and self.baseline.fits:
            return self.baseline
        plain = [c for c in self.ranked if c.spec.accumulate == 1 and not c.spec.amp]
        return max(plain, key=lambda c: c.spec.batch, default=None)

    @cached_property
    def front(self) -> list[CellSummary]:
        """The cells that no other beats in mAP@0.5, time and memory at once."""
        return pareto_front(self.ranked)

    @cached_property
    def by_number(self) -> dict[int, RecordedTrial]:
        """The trials by their numbers."""
        return {t.number: t for t in self.trials}

    @property
    def limit_gib(self) -> float:
        """The budget: the limit on peak device memory."""
        return self.study.limit_gib

    @cached_property
    def sources(self) -> list[str]:
        """Where the peaks come from: ``measured``, ``emulated``, ``simulated``, or several."""
        return sorted({t.vram_source for t in self.trials if t.vram_source})

    @cached_property
    def tally(self) -> Tally:
        """How many trials ended how."""
        again = {t.number for c in self.cells for t in c.trials[:-1]}
        trials = [
            t for t in self.trials if not (t.outcome is Outcome.INTERRUPTED and t.number in again)
        ]
        running = sum(t.outcome is None for t in trials)
        complete = sum(t.outcome is Outcome.COMPLETE for t in trials)
        infeasible = sum(t.infeasible for t in trials)
        pruned = sum(t.outcome is Outcome.PRUNED for t in trials)
        failed = len(trials) - running - complete - infeasible - pruned
        asked = sum(
            t.outcome not in {None, Outcome.INTERRUPTED}
            and t.implied_by is None
            and t.spec.confirms is None
            for t in trials
        )
        return Tally(len(trials), running, complete, infeasible, pruned, failed, asked)


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of trials; one that was interrupted and ran again counts once.

    ``failed`` are diverged, timed out, crashed and interrupted; ``asked`` have ended and count
    in ``study.n_trials``: neither interrupted or implied ones nor repetitions.
    """

    trials: int
    running: int
    complete: int
    infeasible: int
    pruned: int
    failed: int
    asked: int


def pareto_front(cells: list[CellSummary]) -> list[CellSummary]:
    """The cells that no other equals or beats in mAP@0.5, time and memory; best mAP first."""
    known = [c for c in cells if c.peak_gib is not None and c.wall_time_s is not None]
    front: list[tuple[float, float]] = []
    kept: list[CellSummary] = []
    for cell in sorted(known, key=lambda c: (*_rank(c), c.peak_gib)):
        time, peak = cell.wall_time_s or 0.0, cell.peak_gib or 0.0
        # all kept ones have at least this mAP
        if not any(t <= time and p <= peak for t, p in front):
            front.append((time, peak))
            kept.append(cell)
    return kept


def _rank(cell: CellSummary) -> tuple[float, float]:
    return -(cell.map50 or 0.0), cell.wall_time_s or 0.0
