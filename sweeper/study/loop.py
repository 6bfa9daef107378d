"""The study loop: ask, run, log, tell, until nothing is left to run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.trial import Trial

from sweeper.errors import StudyError
from sweeper.executors import Executor
from sweeper.memory.budget import judge
from sweeper.study.bounds import Frontier
from sweeper.study.display import StudyDisplay
from sweeper.study.optuna_study import CellStudy, outcome_of
from sweeper.study.space import Cell
from sweeper.study.stop import StopRequest
from sweeper.study.storage import readable_faults
from sweeper.tracking.outbox import Ledger
from sweeper.trial.json_file import from_json, write_record
from sweeper.trial.record import EpochReport, Outcome, TrialResult, TrialSpec

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class _Flight:
    """A trial under way."""

    trial: Trial
    spec: TrialSpec
    folder: Path


@dataclass(frozen=True, slots=True)
class _Watcher:
    """Passes what a running trial reports to Optuna, MLflow and the terminal."""

    flight: _Flight
    study: CellStudy
    ledger: Ledger
    display: StudyDisplay

    def on_progress(self, done: int, total: int) -> None:
        self.display.progress(self.flight.spec.number, done, total)

    def on_epoch(self, report: EpochReport) -> bool:
        self.ledger.epoch(self.flight.folder, report)
        self.display.epoch(self.flight.spec.number, report)
        last = report.epoch >= self.flight.spec.epochs
        return self.study.report(self.flight.trial, report) and not last


class StudyLoop:
    """Keeps every slot of the executor busy and every finished trial recorded.

    A cell that earlier trials already prove not to fit is recorded without running.
    """

    def __init__(
        self,
        study: CellStudy,
        specs: Mapping[Cell, TrialSpec],
        executor: Executor,
        ledger: Ledger,
        display: StudyDisplay,
        trials: Path,
        order: Sequence[int],
    ) -> None:
        """Bring the study and its records in order.

        Args:
            study: The study.
            specs: What to run for each cell; numbers are filled in.
            executor: Where it runs.
            ledger: Takes the records.
            display: Takes the progress.
            trials: Folder of the trial folders.
            order: Indices of the cells in the order to take them; where it ends, the sampler
                chooses among what is left.
        """
        self._study, self._specs, self._executor = study, specs, executor
        self._ledger, self._display, self._trials = ledger, display, trials
        self._frontier = Frontier()
        cells = list(specs)
        self._queue = deque(cells[i] for i in order)
        self._running: dict[Future[TrialResult], _Flight] = {}

    def run(self, n_trials: int) -> bool:
        """Run until ``n_trials`` trials in all have run; False when a signal stopped it.

        Raises:
            StudyError: Records cannot be written, e.g. because the disk is full.
        """
        with readable_faults():
            return self._run(n_trials)

    def _run(self, n_trials: int) -> bool:
        with StopRequest() as stop:
            left = min(n_trials - self._study.finished, len(self._study.open_cells))
            self._display.start(left, self._specs.values())
            self._reconcile()
            self._tell_implied()
            while not stop.reason:
                while self._study.finished + len(self._running) < n_trials and self._has_slot():
                    cell = self._next_cell()
                    if cell is None and not self._study.open_cells:
                        break
                    self._start(cell)
                if not self._running:
                    return True
                self._collect(POLL_S)
            self._display.note(f"{stop.reason}: ending the running trials, writing what is known")
            self._executor.close()
            self._collect(None)
        return False

    def _has_slot(self) -> bool:
        return len(self._running) < self._executor.slots

    def _next_cell(self) -> Cell | None:
        """The next open cell of the order; None leaves the choice to the sampler."""
        while self._queue:
            cell = self._queue.popleft()
            if self._study.is_open(cell):
                return cell
        return None

    def _reconcile(self) -> None:
        """Settle what a study which ended hard left open, and learn from what it proved.

        A trial whose result reached the disk is adopted; any other is recorded as interrupted,
        and its cell runs again.
        """
        self._ledger.close_orphans()
        for stored in self._study.stored_trials():
            flight = self._stored_flight(stored.number)
            outcome = outcome_of(stored)
            if outcome is None:
                self._settle(self._study.reopen(stored), flight)
            elif flight is not None:
                self._frontier.learn(flight[0], TrialResult(outcome))
                self._display.settled(flight[0], outcome, stored.value)
        self._ledger.send_waiting()

    def _stored_flight(self, trial_number: int) -> tuple[TrialSpec, Path] | None:
        folder = self._folder(trial_number)
        try:
            return from_json(TrialSpec, (folder / "spec.json").read_text()), folder
        except FileNotFoundError:
            return None

    def _settle(self, trial: Trial, stored: tuple[TrialSpec, Path] | None) -> None:
        """Finish a trial that was left running."""
        result = TrialResult(Outcome.INTERRUPTED, "the study ended while it was running")
        if stored is not None:
            spec, folder = stored
            path = folder / "result.json"
            if path.exists():
                result = judge(from_json(TrialResult, path.read_text()), spec.limit_gib)
            else:
                write_record(path, result)
            self._ledger.finish(spec, result, folder)
            self._frontier.learn(spec, result)
        self._study.tell(trial, result)
        self._display.note(f"trial {trial.number} of an earlier start: {result.outcome.value}")

    def _start(self, cell: Cell | None) -> None:
        trial, cell = self._study.ask(cell)
        flight = self._open_flight(trial, cell)
        self._display.trial_started(flight.spec)
        watcher = _Watcher(flight, self._study, self._ledger, self._display)
        self._running[self._executor.submit(flight.spec, flight.folder, watcher)] = flight

    def _open_flight(self, trial: Trial, cell: Cell) -> _Flight:
        """Give the trial its folder, its spec and its MLflow run."""
        spec = replace(self._specs[cell], number=trial.number)
        folder = self._folder(spec.number)
        if (folder / "spec.json").exists():
            raise StudyError(
                f"{folder} holds a trial that study.storage does not know. Give another "
                "study.name, or move that folder away."
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder / "spec.json", spec)
        self._ledger.start(spec, folder)
        return _Flight(trial, spec, folder)

    def _collect(self, timeout_s: float | None) -> None:
        """Record the trials that end within ``timeout_s``; None waits for all of them."""
        when = "ALL_COMPLETED" if timeout_s is None else FIRST_COMPLETED
        for future in wait(self._running, timeout_s, when).done:
            flight = self._running.pop(future)
            if future.cancelled():
                result = TrialResult(Outcome.INTERRUPTED, "the study was stopped")
                write_record(flight.folder / "result.json", result)
            else:
                result = future.result()
            self._record(flight, result)
            if self._frontier.learn(flight.spec, result):
                self._tell_implied()

    def _record(self, flight: _Flight, result: TrialResult) -> None:
        """MLflow first, then Optuna: what Optuna holds as finished needs no second look."""
        self._ledger.finish(flight.spec, result, flight.folder)
        self._study.tell(flight.trial, result)
        self._display.trial_finished(flight.spec, result)

    def _tell_implied(self) -> None:
        """Record every open cell that the evidence decides, without running it."""
        for cell, proof in self._decided():
            trial, _ = self._study.ask(cell)
            flight = self._open_flight(trial, cell)
            reason = f"not run: trial {proof} of the same memory class did not fit"
            result = TrialResult(Outcome.IMPLIED, reason, implied_by=proof)
            write_record(flight.folder / "result.json", result)
            self._record(flight, result)

    def _decided(self) -> Iterator[tuple[Cell, int]]:
        for cell in self._study.open_cells:
            proof = self._frontier.implied_by(self._specs[cell])
            if proof is not None:
                yield cell, proof

    def _folder(self, number: int) -> Path:
        return self._trials / f"{number:04d}"
