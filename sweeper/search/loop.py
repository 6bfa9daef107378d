"""The study loop: ask, run, log, tell, until nothing is left to run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import Trial

from sweeper.display import StudyDisplay
from sweeper.executors import Executor
from sweeper.records import from_json
from sweeper.search.space import Cell
from sweeper.search.study import CellStudy
from sweeper.tracking import Tracker
from sweeper.trial import EpochReport, Outcome, TrialResult, TrialSpec

RUN_ID = "mlflow_run_id"


@dataclass(frozen=True, slots=True)
class _Flight:
    """A trial under way."""

    trial: Trial
    spec: TrialSpec
    folder: Path
    run_id: str


@dataclass(frozen=True, slots=True)
class _Watcher:
    """Passes what a running trial reports to MLflow and the terminal."""

    number: int
    run_id: str
    tracker: Tracker
    display: StudyDisplay

    def on_progress(self, done: int, total: int) -> None:
        self.display.progress(self.number, done, total)

    def on_epoch(self, report: EpochReport) -> bool:
        self.tracker.log_epoch(self.run_id, report)
        self.display.epoch(self.number, report)
        return False


class StudyLoop:
    """Keeps every slot of the executor busy and every finished trial recorded."""

    def __init__(
        self,
        study: CellStudy,
        build: Callable[[Cell, int], TrialSpec],
        executor: Executor,
        tracker: Tracker,
        display: StudyDisplay,
        folder: Path,
    ) -> None:
        """``build`` makes the spec of a cell and a trial number."""
        self._study, self._build, self._executor = study, build, executor
        self._tracker, self._display, self._folder = tracker, display, folder
        self._running: dict[Future[TrialResult], _Flight] = {}

    def run(self, n_trials: int) -> bool:
        """Run until ``n_trials`` trials in all have ended; False when interrupted."""
        self.reconcile()
        left = min(n_trials - self._study.finished, len(self._study.open_cells))
        self._display.start(left)
        try:
            while left > 0 or self._running:
                while left > 0 and len(self._running) < self._executor.slots:
                    self._start()
                    left -= 1
                self._collect()
        except KeyboardInterrupt:
            self._display.note("stopping: ending the running trials and writing what is known")
            self._executor.close()
            self._collect(all_of_them=True)
            return False
        return True

    def reconcile(self) -> None:
        """Settle the trials that a study which ended hard left running.

        A trial whose result reached the disk is adopted; any other is recorded as interrupted,
        and its cell runs again.
        """
        for stale in self._study.stale_trials():
            trial = self._study.reopen(stale)
            path = self._trial_folder(stale.number) / "result.json"
            if path.exists():
                result = from_json(TrialResult, path.read_text())
            else:
                result = TrialResult(Outcome.INTERRUPTED, "the study ended while it was running")
            if run_id := stale.user_attrs.get(RUN_ID):
                self._tracker.finish_trial(run_id, result, path.parent)
            self._study.tell(trial, result)
            self._display.note(f"trial {stale.number} of an earlier start: {result.outcome.value}")

    def _start(self) -> None:
        trial, cell = self._study.ask()
        spec = self._build(cell, trial.number)
        folder = self._trial_folder(trial.number)
        run_id = self._tracker.start_trial(spec)
        trial.set_user_attr(RUN_ID, run_id)
        self._display.trial_started(spec)
        watcher = _Watcher(trial.number, run_id, self._tracker, self._display)
        future = self._executor.submit(spec, folder, watcher)
        self._running[future] = _Flight(trial, spec, folder, run_id)

    def _collect(self, all_of_them: bool = False) -> None:
        """Wait for the next trial (or all) to end and record it: MLflow first, then Optuna."""
        done = self._running if all_of_them else wait(self._running, None, FIRST_COMPLETED).done
        for future in list(done):
            flight = self._running.pop(future)
            if future.cancelled():
                result = TrialResult(Outcome.INTERRUPTED, "the study was stopped")
            else:
                result = future.result()
            self._tracker.finish_trial(flight.run_id, result, flight.folder)
            self._study.tell(flight.trial, result)
            self._display.trial_finished(flight.spec, result)

    def _trial_folder(self, number: int) -> Path:
        return self._folder / "trials" / f"{number:04d}"
