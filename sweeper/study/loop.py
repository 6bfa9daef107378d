"""The study loop: ask, run, tell, until nothing is left to run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from optuna.trial import Trial

from sweeper.errors import StudyError
from sweeper.study.bounds import Bounds
from sweeper.study.display import StudyDisplay
from sweeper.study.judge import imply, interrupt
from sweeper.study.optuna_study import CellStudy, outcome_of
from sweeper.study.space import Cell
from sweeper.study.storage import readable_faults
from sweeper.study.trials import Trials
from sweeper.tracking.outbox import Outbox
from sweeper.trial.record import EpochReport, TrialResult, TrialSpec


class StudyLoop:
    """Runs the cells of a study, in the order given or as the sampler chooses.

    A cell that earlier trials already prove not to fit is recorded without running.
    """

    def __init__(
        self,
        study: CellStudy,
        specs: Mapping[Cell, TrialSpec],
        trials: Trials,
        outbox: Outbox,
        display: StudyDisplay,
        order: Sequence[int],
    ) -> None:
        """Nothing runs yet.

        Args:
            study: The study.
            specs: What to run for each cell; numbers are filled in.
            trials: Runs and records them.
            outbox: MLflow's records, to be brought in order first.
            display: Takes the progress.
            order: Indices of the cells in the order to take them; where it ends, the sampler
                chooses among what is left.
        """
        self._study, self._specs, self._trials = study, specs, trials
        self._outbox, self._display = outbox, display
        self._bounds = Bounds()
        cells = list(specs)
        self._queue = deque(cells[i] for i in order)
        self._asked: dict[int, Trial] = {}

    def run(self, n_trials: int) -> bool:
        """Run until ``n_trials`` trials in all have run; False when a signal stopped it.

        Raises:
            StudyError: Records cannot be written, e.g. because the disk is full.
        """
        with readable_faults():
            left = min(n_trials - self._study.finished, len(self._study.open_cells))
            self._display.start(left, self._specs.values())
            self._reconcile()
            self._tell_implied()

            def next_spec() -> TrialSpec | None:
                if self._study.finished + len(self._asked) >= n_trials:
                    return None
                return self._ask()

            return self._trials.run(next_spec, self._ended, self._stops)

    def _ask(self) -> TrialSpec | None:
        """The next trial; None when every cell is taken."""
        cell = self._next_cell()
        if cell is None and not self._study.open_cells:
            return None
        trial, cell = self._study.ask(cell)
        return self._spec(trial, cell)

    def _next_cell(self) -> Cell | None:
        """The next open cell of the order; None leaves the choice to the sampler."""
        while self._queue:
            cell = self._queue.popleft()
            if self._study.is_open(cell):
                return cell
        return None

    def _spec(self, trial: Trial, cell: Cell) -> TrialSpec:
        spec = replace(self._specs[cell], number=trial.number)
        if self._trials.folder(trial.number).exists:
            raise StudyError(
                f"{self._trials.folder(trial.number).path} holds a trial that study.storage does "
                "not know. Give another study.name, or move that folder away."
            )
        self._asked[trial.number] = trial
        return spec

    def _stops(self, spec: TrialSpec, report: EpochReport) -> bool:
        """Let the pruner judge an epoch; there is nothing to save after the last one."""
        last = report.epoch >= spec.epochs
        return self._study.report(self._asked[spec.number], report) and not last

    def _ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """Tell Optuna last: what it holds as finished needs no second look."""
        self._study.tell(self._asked.pop(spec.number), result)
        if self._bounds.learn(spec, result):
            self._tell_implied()

    def _tell_implied(self) -> None:
        """Record every open cell that the evidence decides, without running it."""
        for cell, proof in self._decided():
            trial, _ = self._study.ask(cell)
            spec, result = self._spec(trial, cell), imply(proof)
            self._trials.decide(spec, result)
            self._study.tell(self._asked.pop(spec.number), result)

    def _decided(self) -> Iterator[tuple[Cell, int]]:
        for cell in self._study.open_cells:
            proof = self._bounds.implied_by(self._specs[cell])
            if proof is not None:
                yield cell, proof

    def _reconcile(self) -> None:
        """Settle what a study which ended hard left open, and learn from what it proved.

        A trial whose training had ended is adopted; any other is recorded as interrupted, and
        its cell runs again.
        """
        self._outbox.close_orphans()
        for stored in self._study.stored_trials():
            folder = self._trials.folder(stored.number)
            spec = folder.read_spec() if folder.exists else None
            outcome = outcome_of(stored)
            if outcome is None:
                self._settle(self._study.reopen(stored), spec)
            elif spec is not None:
                self._bounds.learn(spec, TrialResult(outcome))
                self._display.settled(spec, outcome, stored.value)
        self._outbox.send_waiting()

    def _settle(self, trial: Trial, spec: TrialSpec | None) -> None:
        """Finish a trial that was left running."""
        result = self._trials.left_behind(trial.number)
        if spec is not None:
            result = result or interrupt("the study ended while it was running")
            self._trials.settle(spec, result)
            self._bounds.learn(spec, result)
        result = result or interrupt("the study ended before it was running")
        self._study.tell(trial, result)
        self._display.note(f"trial {trial.number} of an earlier start: {result.outcome.value}")
