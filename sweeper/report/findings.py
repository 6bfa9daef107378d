"""What a study found: its winner, what to compare with, and its Pareto front."""

from __future__ import annotations

from functools import cached_property

from sweeper.report.cells import CellSummary, cells_of
from sweeper.report.pareto import pareto_front
from sweeper.report.standing import standings_of
from sweeper.report.tally import Tally
from sweeper.trial.curves import Outlook
from sweeper.trial.gap import Gap
from sweeper.trial.levers import places, pulled
from sweeper.trial.rungs import Choice, choose, ends, leads
from sweeper.trial.spec import AMPS
from sweeper.trial.study_record import Points, RecordedStudy, RecordedTrial, StudyStatus

BASELINE = "baseline"  # the name of the article's strategy
# Below this nobody would use the model, and a ranking of such numbers says nothing.
LEAST_MAP50 = 0.01
MOST_ASKED = 8  # curves that are asked for where no result holds them


class Findings:
    """A study's cells, ranked and compared; each question is answered once."""

    def __init__(self, recorded: RecordedStudy) -> None:
        self.study, self.trials = recorded.study, recorded.trials
        self.unreadable, self.curve = recorded.unreadable, recorded.curve
        self.cells = cells_of(recorded.trials)

    @cached_property
    def ranked(self) -> list[CellSummary]:
        """The cells that can be recommended, the best end first; of equals the faster one."""
        return sorted((c for c in self.cells if c.fits), key=self._rank)

    @cached_property
    def contenders(self) -> list[CellSummary]:
        """The cells between which it is chosen: the confirmed ones, where there are any."""
        able = [c for c in self.cells if c.fits]
        return [c for c in able if c.confirmed] or able

    @cached_property
    def winner(self) -> CellSummary | None:
        """The one chosen; a run that was continued to its end for it stays chosen."""
        if self.choice is None:
            return None
        finished = [c for c in self.ranked if c.finished]
        return next(iter(finished), None) or self.cell_of(self.choice.order[0])

    @cached_property
    def choice(self) -> Choice | None:
        """Which of `contenders` is taken, and why each other one is not; None without any."""
        return choose(standings_of(self.contenders, self.rung)) if self.contenders else None

    @cached_property
    def rung(self) -> int:
        """The epochs by which a finished run and those that were not can be compared, or 0.

        What the whole run came to beyond what was expected, the others might have come to, too.
        """
        compared = [t for c in self.contenders for t in c.compared]
        waiting = (t.result.trained for t in compared if t.result and t.paused)
        return max(waiting, default=0) if any(t.finished for t in compared) else 0

    def to_confirm(self, top: int) -> list[int]:
        """The trials to repeat with fresh seeds: those that are, then the next of the choice.

        None but those where no cell can be recommended: seeds would tell nothing of the choice.
        """
        begun = {t.spec.confirms for t in self.trials if t.spec.confirms is not None}
        trials = tuple(t for t in self.trials if t.spec.confirms is None)
        searched = Findings(RecordedStudy(self.study, trials))
        order = searched.choice.order if searched.choice and searched.recommended else ()
        cells = {self.cell_of(number).name for number in begun}
        others = (n for n in order if self.cell_of(n).name not in cells)
        return [*sorted(begun), *others][:top]

    @cached_property
    def begun(self) -> list[CellSummary]:
        """The cells whose training has begun: `ranked`, those stopped at a rung, the others."""
        rest = [c for c in self.cells if not c.fits]
        others = [c for c in rest if (r := c.first.result) is None or r.best_epoch is not None]
        return [*self.ranked, *sorted(others, key=lambda c: not c.compared)]

    @cached_property
    def curves(self) -> dict[str, Points]:
        """mAP@0.5 by epoch of the trial that stands for each cell, by the cell's name.

        Raises:
            StudyError: MLflow, which has those of running trials, does not answer.
        """
        curves = {c.name: _recorded_points(c.first) for c in self.begun}
        for cell in self.begun[:MOST_ASKED]:
            curves[cell.name] = curves[cell.name] or self.curve(cell.first, "map50")
        return {name: points for name, points in curves.items() if points}

    @cached_property
    def ended(self) -> bool:
        """Whether the study ran to its end: before, the winner only leads so far."""
        return self.study.status is StudyStatus.FINISHED

    @cached_property
    def ends(self) -> dict[str, Outlook]:
        """mAP@0.5 at the end of the whole run, reached or expected, by the name of the cell.

        What stopped at a rung is extrapolated by all curves, as it was there.
        """
        known = standings_of(self.cells)
        contenders = standings_of(self.contenders)
        return (ends(known) if known else {}) | (ends(contenders) if contenders else {})

    @cached_property
    def ends_at_rung(self) -> dict[str, Outlook]:
        """`ends` as they were expected at the `rung`, where a run was finished since."""
        return ends(standings_of(self.cells, self.rung)) if self.rung else self.ends

    def comparable_end(self, cell: CellSummary) -> float | None:
        """`end`; where a run was finished, as it was expected before, for every cell."""
        known = self.ends_at_rung.get(cell.name) if self.rung else None
        return known.map50 if known else self.end(cell)

    def end(self, cell: CellSummary) -> float | None:
        """mAP@0.5 of a cell at the end of the whole run, reached or expected."""
        if cell.compared and not cell.paused:
            return cell.map50
        known = self.ends.get(cell.name)
        return known.map50 if known else None

    @cached_property
    def leads(self) -> dict[str, Gap]:
        """How far the winner ends above each other contender, by name, 4 times of 5."""
        if self.winner is None:
            return {}
        rivals = [c for c in self.contenders if c is not self.winner]
        return leads(standings_of([self.winner, *rivals], self.rung), self.winner.name)

    def cell_of(self, number: int) -> CellSummary:
        """The cell that a trial belongs to."""
        return next(c for c in self.cells for t in c.trials if t.number == number)

    def _rank(self, cell: CellSummary) -> tuple[float, float, float]:
        end = self.end(cell)
        so_far = (cell.map50 or 0.0) if end is None else 0.0  # tells nothing beside an end
        return -(end or 0.0), -so_far, cell.whole_s or 0.0

    @cached_property
    def recommended(self) -> CellSummary | None:
        """The winner, unless it detects nothing, or nothing could be expected of any cell."""
        winner = self.winner
        if winner is None or (winner.map50 or 0.0) < LEAST_MAP50:
            return None
        return winner if winner.name in self.ends_at_rung or self.rival is None else None

    @cached_property
    def rival(self) -> CellSummary | None:
        """The best of the other contenders."""
        others = [c for c in self.contenders if c is not self.winner]
        return min(others, key=self._rank, default=None)

    @cached_property
    def in_parts(self) -> bool:
        """Whether a trial was ended, as intended, before its whole run."""
        return any(t.result is not None and t.result.paused for t in self.trials)

    @cached_property
    def infeasible(self) -> list[CellSummary]:
        """The cells that do not fit, the smallest batch first."""
        cells = [c for c in self.cells if c.infeasible and not c.fits]
        return sorted(
            cells, key=lambda c: (c.spec.batch, c.spec.accumulate, -AMPS.index(c.spec.amp))
        )

    @cached_property
    def baseline(self) -> CellSummary | None:
        """The cell of the article's baseline strategy, whether it fits or not."""
        cells = (c for c in self.cells if c.spec.strategy == BASELINE)
        return min(cells, key=lambda c: places(c.spec), default=None)

    @cached_property
    def reference(self) -> CellSummary | None:
        """What changes are counted against: the baseline, else the largest plain batch."""
        if self.baseline is not None and self.baseline.fits:
            return self.baseline
        plain = [c for c in self.ranked if c.spec.accumulate == 1 and not c.spec.amp]
        return max(plain, key=lambda c: (-len(pulled(c.spec)), c.spec.batch), default=None)

    @cached_property
    def front(self) -> list[CellSummary]:
        """The cells that no other beats in mAP@0.5 at the end, time and memory at once."""
        return pareto_front(self.cells, self.comparable_end)

    @cached_property
    def by_number(self) -> dict[int, RecordedTrial]:
        """The trials by their numbers."""
        return {t.number: t for t in self.trials}

    @cached_property
    def busy(self) -> dict[str, float]:
        """The share of their time that cells waited for a core of a busy machine, by name."""
        return {c.name: c.waited for c in self.ranked if c.waited}

    @property
    def limit_gib(self) -> float:
        """The budget: the limit on peak device memory."""
        return self.study.limit_gib

    @cached_property
    def sources(self) -> list[str]:
        """Where the peaks come from: ``measured``, ``emulated``, ``simulated``, or several."""
        return sorted({s for t in self.trials if (s := t.at_rung.vram_source)})

    @cached_property
    def tally(self) -> Tally:
        """How many trials ended how."""
        again = {t.number for cell in self.cells for t in cell.repeated}
        return Tally.of(t for t in self.trials if t.number not in again)


def _recorded_points(trial: RecordedTrial) -> Points:
    return [*enumerate(trial.result.curve, 1)] if trial.result else []
