"""Trials in this process, one after the other, so that a breakpoint works: executor=debug."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from sweeper.executors import Watcher
from sweeper.executors.machine import Machine, machine_here
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import TrialFacts

Train = Callable[[TrialFolder, Watcher], TrialFacts]


class DebugExecutor:
    """Calls a function for each trial and returns when it has ended.

    Attributes:
        slots: How many trials are asked for at once; they run one after the other all the same.
    """

    def __init__(self, train: Train | None = None, slots: int = 1) -> None:
        """``train`` stands in for the real training, e.g. in tests."""
        self.slots = slots
        self._train = train or train_here

    def machine(self) -> Machine:
        """This one, without its GPUs."""
        return machine_here(self.slots).with_gpus(())

    def expect(self, trials: int) -> None:
        """There is nothing to get ready."""

    def submit(self, folder: TrialFolder, watcher: Watcher) -> Future[TrialFacts]:
        """Run the trial now."""
        started = time.monotonic()
        facts = self._train(folder, watcher)
        if not facts.wall_time_s:
            facts = replace(facts, wall_time_s=time.monotonic() - started)
        future: Future[TrialFacts] = Future()
        future.set_result(facts)
        return future

    def reattach(self, folder: TrialFolder, watcher: Watcher) -> None:
        """Nothing outlives this process."""

    def leave(self) -> None:
        """Nothing outlives this process."""

    def close(self) -> None:
        """Nothing runs between two calls."""


class _Link:
    """Stands in for the pipe to the parent: the watcher is at hand."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._stop = watcher, False

    def send_epoch(self, report: EpochReport) -> None:
        self._stop = self._watcher.on_epoch(report)

    def send_progress(self, done: int, total: int) -> None:
        from sweeper.training.endings import Stopped

        if self._stop:
            raise Stopped
        self._watcher.on_progress(done, total)


def train_here(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
    """Train on the CPU; torch is imported into this process, which prints to the terminal."""
    from sweeper.training.run import run_trial

    facts = run_trial(folder.read_spec(), folder, "cpu", _Link(watcher))
    folder.write_child(facts)
    return TrialFacts(child=facts)
