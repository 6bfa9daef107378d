"""What a study found: its winner, what to compare with, and its Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sweeper.report.cells import Cell, cells_of, is_infeasible
from sweeper.tracking import StudyRecord, TrialRecord
from sweeper.trial.record import Outcome

BASELINE = "baseline"  # the name of the article's strategy
# Below this nobody would use the model, and a ranking of such numbers says nothing.
LEAST_MAP50 = 0.01


class Findings:
    """A study's cells, ranked and compared; each question is answered once."""

    def __init__(self, study: StudyRecord) -> None:
        self.study = study
        self.cells = cells_of(study)

    @cached_property
    def ranked(self) -> list[Cell]:
        """The cells that completed, best mAP@0.5 first; of equals the faster one."""
        return sorted((c for c in self.cells if c.fits), key=_rank)

    @cached_property
    def winner(self) -> Cell | None:
        """The best cell; where some were confirmed with other seeds, the best of those."""
        confirmed = [c for c in self.ranked if any(t.confirms is not None for t in c.complete)]
        return next(iter(confirmed or self.ranked), None)

    @cached_property
    def recommended(self) -> Cell | None:
        """The winner, unless it detects nothing."""
        enough = self.winner is not None and (self.winner.map50 or 0.0) >= LEAST_MAP50
        return self.winner if enough else None

    @cached_property
    def rival(self) -> Cell | None:
        """The best of the other cells with as many seeds as can be had."""
        others = [c for c in self.ranked if c is not self.winner]
        repeated = [c for c in others if len(c.complete) > 1]
        return next(iter(repeated or others), None)

    @cached_property
    def infeasible(self) -> list[Cell]:
        """The cells that do not fit, the smallest batch first."""
        cells = [c for c in self.cells if c.infeasible and not c.fits]
        return sorted(cells, key=lambda c: (c.first.batch, c.first.accumulate, not c.first.amp))

    @cached_property
    def baseline(self) -> Cell | None:
        """The cell of the article's baseline strategy, whether it fits or not."""
        return next((c for c in self.cells if c.first.strategy == BASELINE), None)

    @cached_property
    def reference(self) -> Cell | None:
        """What changes are counted against: the baseline, else the largest plain batch."""
        if self.baseline is not None and self.baseline.fits:
            return self.baseline
        plain = [c for c in self.ranked if c.first.accumulate == 1 and not c.first.amp]
        return max(plain, key=lambda c: c.first.batch, default=None)

    @cached_property
    def front(self) -> list[Cell]:
        """The cells that no other beats in mAP@0.5, time and memory at once."""
        return pareto_front(self.ranked)

    @cached_property
    def by_number(self) -> dict[int, TrialRecord]:
        """The trials by their numbers."""
        return {t.number: t for t in self.study.trials}

    @cached_property
    def budget_gib(self) -> float | None:
        """The limit; None when it was not recorded."""
        params = [self.study.params, *(t.params for t in self.study.trials[:1])]
        values = [p["budget_gib"] for p in params if p.get("budget_gib", "None") != "None"]
        return float(values[0]) if values else None

    @cached_property
    def sources(self) -> list[str]:
        """Where the peaks come from: ``measured``, ``simulated`` or both."""
        return sorted({t.vram_source for t in self.study.trials if t.vram_source})

    @cached_property
    def tally(self) -> Tally:
        """How many trials ended how."""
        again = {t.number for c in self.cells for t in c.trials[:-1]}
        trials = [
            t
            for t in self.study.trials
            if not (t.outcome == Outcome.INTERRUPTED and t.number in again)
        ]
        running = sum(t.outcome == "running" for t in trials)
        complete = sum(t.outcome == Outcome.COMPLETE for t in trials)
        infeasible = sum(map(is_infeasible, trials))
        pruned = sum(t.outcome == Outcome.PRUNED for t in trials)
        failed = len(trials) - running - complete - infeasible - pruned
        asked = sum(
            t.outcome not in {"running", Outcome.INTERRUPTED}
            and t.implied_by is None
            and t.confirms is None
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


def pareto_front(cells: list[Cell]) -> list[Cell]:
    """The cells that no other equals or beats in mAP@0.5, time and memory; best mAP first."""
    known = [c for c in cells if c.peak_gib is not None and c.wall_time_s is not None]
    front: list[tuple[float, float]] = []
    kept: list[Cell] = []
    for cell in sorted(known, key=lambda c: (*_rank(c), c.peak_gib)):
        time, peak = cell.wall_time_s or 0.0, cell.peak_gib or 0.0
        # all kept ones have at least this mAP
        if not any(t <= time and p <= peak for t, p in front):
            front.append((time, peak))
            kept.append(cell)
    return kept


def _rank(cell: Cell) -> tuple[float, float]:
    return -(cell.map50 or 0.0), cell.wall_time_s or 0.0
