"""Where trials run: an executor takes a prepared folder and gives a future of raw facts."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from sweeper.executors.machine import Machine
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import TrialFacts


class Watcher(Protocol):
    """What the submitter wants to hear while a trial runs; called from the executor's thread."""

    def on_progress(self, done: int, total: int) -> None:
        """Micro-batches done and in all."""

    def on_epoch(self, report: EpochReport) -> bool:
        """Take a finished epoch; return True to stop the trial."""
        ...


class Executor(Protocol):
    """Runs trials, ``slots`` of them at a time."""

    @property
    def slots(self) -> int:
        """How many trials run at once."""
        ...

    def machine(self) -> Machine:
        """Where trials will run: its GPUs decide the budget, its cores the threads."""
        ...

    def expect(self, trials: int) -> None:
        """Get ready for that many trials while the caller goes on."""

    def submit(self, folder: TrialFolder, watcher: Watcher) -> Future[TrialFacts]:
        """Run the spec in ``folder``; the future never raises for what the trial does."""
        ...

    def reattach(self, folder: TrialFolder, watcher: Watcher) -> Future[TrialFacts] | None:
        """Follow a trial again that an earlier process submitted, if that still can be."""
        ...

    def leave(self) -> None:
        """Let go of what runs on without this process: another one follows it."""

    def close(self) -> None:
        """End what still runs, and wait until no process is left."""
