"""Keeps MLflow in step with the trial folders, also when MLflow is down for a while."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from sweeper.errors import first_line
from sweeper.tracking import FAULTS, Tracker, is_refusal
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport, SystemSample
from sweeper.trial.record import TrialResult
from sweeper.trial.spec import TrialSpec

RETRY_S = 30.0

Action = Callable[[], object]


class Outbox:
    """Writes trials to MLflow; what cannot be written stays in its folder and is sent later.

    One thread of its own writes, in the order of the calls: nobody waits for a server.
    """

    def __init__(
        self,
        connect: Callable[[], Tracker],
        trials: Path,
        warn: Callable[[str], None],
        patience_s: float = math.inf,
    ) -> None:
        """Nothing is sent yet.

        Args:
            connect: Opens the tracker and the study's parent run.
            trials: Holds the trial folders.
            warn: Takes what a person should know.
            patience_s: How long one record may take once the study was stopped.
        """
        self._connect, self._trials, self._warn = connect, trials, warn
        self._patience_s = patience_s
        self._tracker: Tracker | None = None
        self._retry_at = 0.0
        self._down = False
        self._actions: SimpleQueue[Action] = SimpleQueue()
        self._left, self._moved_at = 0, 0.0  # actions not done; when the last one was
        self._changed = threading.Condition()
        self._fault: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self, spec: TrialSpec, folder: TrialFolder) -> None:
        """Open the trial's run, or go on with that of an interrupted attempt."""
        folder.logged.unlink(missing_ok=True)

        def open_run() -> None:
            folder.logged.unlink(missing_ok=True)  # an earlier attempt may only now have got there
            self._attempt(lambda t: t.log_spec(_open_run(t, spec, folder), spec))

        self._post(open_run)

    def epoch(self, folder: TrialFolder, report: EpochReport) -> None:
        """Add to the live curves; the final write repeats every point."""
        self._add(folder, lambda tracker, run_id: tracker.log_epoch(run_id, report))

    def sample(self, folder: TrialFolder, sample: SystemSample) -> None:
        """Add to the machine's curves, as `epoch` does."""
        if self._fault is None:  # it is raised where the study can hear it
            self._add(folder, lambda tracker, run_id: tracker.log_sample(run_id, sample))

    def finish(self, spec: TrialSpec, result: TrialResult, folder: TrialFolder) -> None:
        """Write what came back, and whatever waits from before."""

        def write() -> None:
            was_down = self._down
            if self._attempt(lambda t: _write(t, spec, result, folder)) and was_down:
                self._send_waiting()

        self._post(write)

    def send_waiting(self) -> None:
        """Send what MLflow did not take before, oldest first, until it is down."""
        self._post(self._send_waiting)

    def close_orphans(self) -> None:
        """End the runs that a study which ended hard left open and no folder knows."""

        def close(tracker: Tracker) -> None:
            ids = (folder.read_run_id() for folder in TrialFolder.all_of(self._trials))
            tracker.kill_unknown_runs({run_id for run_id in ids if run_id})

        self._post(lambda: self._attempt(close))

    def finish_study(self, done: bool) -> bool:
        """Send what waits and end the parent run; False where MLflow takes nothing now.

        A study that was stopped does not wait for a server that does not answer.
        """
        self._post(partial(self._finish_study, done))
        taken = self.drain(math.inf if done else self._patience_s) and not self._down
        if left := len(self.waiting()):
            self._warn(
                f"{left} finished trials are not in MLflow yet; the same command sends them"
            )
        return taken

    def leave(self) -> bool:
        """End without ending the study; False where MLflow takes nothing now."""
        return self.drain(self._patience_s) and not self._down

    def drain(self, patience_s: float = math.inf) -> bool:
        """Wait until all is written or kept; False where one record takes longer than that."""
        with self._changed:
            while self._left and self._fault is None:
                waited_s = time.monotonic() - self._moved_at
                if waited_s >= patience_s:
                    return False
                self._changed.wait(min(1.0, patience_s - waited_s))
        self._raise_fault()
        return True

    def waiting(self) -> list[TrialFolder]:
        """Folders of finished trials that MLflow does not have whole."""
        folders = TrialFolder.all_of(self._trials)
        return [f for f in folders if f.has_result and not f.logged.exists()]

    def _add(self, folder: TrialFolder, log: Callable[[Tracker, str], None]) -> None:
        """Write to a trial's run, unless it is gone: then the final write makes another."""

        def add(tracker: Tracker) -> None:
            try:
                if run_id := folder.read_run_id():
                    log(tracker, run_id)
            except FAULTS as error:
                if not is_refusal(error):
                    raise

        self._post(lambda: self._attempt(add))

    def _post(self, action: Action) -> None:
        self._raise_fault()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
            self._thread.start()
        with self._changed:
            if not self._left:
                self._moved_at = time.monotonic()
            self._left += 1
        self._actions.put(action)

    def _run(self) -> None:
        while self._fault is None:
            action = self._actions.get()
            try:
                action()
            except Exception as error:  # raised where the study can hear it
                self._fault = error
            with self._changed:
                self._left, self._moved_at = self._left - 1, time.monotonic()
                self._changed.notify_all()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _finish_study(self, done: bool) -> None:
        self._retry_at = 0.0
        self._send_waiting()
        self._attempt(lambda tracker: tracker.finish_study(done))

    def _send_waiting(self) -> None:
        for folder in self.waiting():
            spec, result = folder.read_spec(), folder.read_result()
            if result is None:  # the trial is being prepared anew
                continue
            self._attempt(partial(_write, spec=spec, result=result, folder=folder))
            if self._down:
                return

    def _attempt(self, action: Callable[[Tracker], object]) -> bool:
        """Do it if MLflow answers; while it does not, ask again at most every half minute."""
        if time.monotonic() < self._retry_at:
            return False
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
        self._down = False
        return True


def _open_run(tracker: Tracker, spec: TrialSpec, folder: TrialFolder) -> str:
    """The id of the trial's run; a new one is noted before and after it is made.

    Where only the former happened, the answer was lost and there may be a run.
    """
    with folder.making_run():
        run_id = folder.read_run_id()
        if run_id == "":
            run_id = tracker.find_trial(spec)
        if run_id is None:
            folder.run_id.touch()
            run_id = tracker.start_trial(spec)
        folder.run_id.write_text(run_id)
        return run_id


def _write(tracker: Tracker, spec: TrialSpec, result: TrialResult, folder: TrialFolder) -> None:
    """Write the trial; to a new run where the one it had was deleted."""
    try:
        tracker.finish_trial(_open_run(tracker, spec, folder), spec, result, folder)
    except FAULTS as error:
        if not is_refusal(error):
            raise
        folder.run_id.unlink()
        tracker.finish_trial(_open_run(tracker, spec, folder), spec, result, folder)
    folder.logged.touch()
