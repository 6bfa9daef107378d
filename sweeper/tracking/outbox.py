"""Keeps MLflow in step with the trial folders, also when MLflow is down for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sweeper.errors import first_line
from sweeper.tracking import FAULTS, Tracker, is_refusal
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import EpochReport, TrialResult, TrialSpec

RETRY_S = 30.0


class Outbox:
    """Writes trials to MLflow; what cannot be written stays in its folder and is sent later."""

    def __init__(
        self, connect: Callable[[], Tracker], trials: Path, warn: Callable[[str], None]
    ) -> None:
        """``connect`` opens the tracker and the study's parent run."""
        self._connect, self._trials, self._warn = connect, trials, warn
        self._tracker: Tracker | None = None
        self._retry_at = 0.0
        self._down = False
        self._lock = threading.RLock()  # epochs come from the executor's threads

    def start(self, spec: TrialSpec, folder: TrialFolder) -> None:
        """Open the trial's run, or go on with that of an interrupted attempt."""
        folder.logged.unlink(missing_ok=True)
        self._attempt(lambda tracker: _open_run(tracker, spec, folder))

    def epoch(self, folder: TrialFolder, report: EpochReport) -> None:
        """Add to the live curves; the final write repeats every point."""

        def log(tracker: Tracker) -> None:
            try:
                tracker.log_epoch(folder.run_id.read_text(), report)
            except FAULTS as error:
                if not is_refusal(error):  # else the run is gone; the final write makes another
                    raise

        if folder.run_id.exists():
            self._attempt(log)

    def finish(self, spec: TrialSpec, result: TrialResult, folder: TrialFolder) -> None:
        """Write what came back, and whatever waits from before."""
        if self._attempt(lambda tracker: _write(tracker, spec, result, folder)) and self._down:
            self._down = False
            self.send_waiting()

    def finish_study(self, done: bool) -> None:
        """Send what waits and end the parent run."""
        self._retry_at = 0.0
        self.send_waiting()
        self._attempt(lambda tracker: tracker.finish_study(done))
        if left := len(self.waiting()):
            self._warn(
                f"{left} finished trials are not in MLflow yet; the same command sends them"
            )

    def waiting(self) -> list[TrialFolder]:
        """Folders of finished trials that MLflow does not have whole."""
        folders = TrialFolder.all_of(self._trials)
        return [f for f in folders if f.has_result and not f.logged.exists()]

    def send_waiting(self) -> None:
        """Send them, oldest first, until MLflow is down."""
        for folder in self.waiting():
            spec, result = folder.read_spec(), folder.read_result()
            if result is None:  # another process prepares the trial anew
                continue
            self._attempt(partial(_write, spec=spec, result=result, folder=folder))
            if self._down:
                return

    def _attempt(self, action: Callable[[Tracker], object]) -> bool:
        """Do it if MLflow answers; while it does not, ask again at most every half minute."""
        with self._lock:
            return time.monotonic() >= self._retry_at and self._try(action)

    def _try(self, action: Callable[[Tracker], object]) -> bool:
        try:
            if self._tracker is None:
                self._tracker = self._connect()
            action(self._tracker)
        except FAULTS as error:
            cause = first_line(error)[:200]
            if is_refusal(error):
                self._warn(f"MLflow refuses a record, it is kept: {cause}")
                return False
            if not self._down:
                self._warn(f"MLflow takes no records, they are kept and sent later: {cause}")
            self._down, self._retry_at = True, time.monotonic() + RETRY_S
            return False
        return True

    def close_orphans(self) -> None:
        """End the runs that a study which ended hard left open and no folder knows."""
        folders = TrialFolder.all_of(self._trials)
        known = {f.run_id.read_text() for f in folders if f.run_id.exists()}
        self._attempt(lambda tracker: tracker.kill_unknown_runs(known))


def _open_run(tracker: Tracker, spec: TrialSpec, folder: TrialFolder) -> str:
    if not folder.run_id.exists():
        folder.run_id.write_text(tracker.start_trial(spec))
    return folder.run_id.read_text()


def _write(tracker: Tracker, spec: TrialSpec, result: TrialResult, folder: TrialFolder) -> None:
    """Write the trial; to a new run where the one it had was deleted."""
    try:
        tracker.finish_trial(_open_run(tracker, spec, folder), result, folder)
    except FAULTS as error:
        if not is_refusal(error):
            raise
        folder.run_id.unlink()
        tracker.finish_trial(_open_run(tracker, spec, folder), result, folder)
    folder.logged.touch()
