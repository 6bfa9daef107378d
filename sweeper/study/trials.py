"""Runs trials, as many at once as there are slots, and records each as it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.executors import Executor
from sweeper.executors.devices import Devices
from sweeper.executors.local import LocalExecutor
from sweeper.study.display import StudyDisplay
from sweeper.study.judge import interrupt, judge, refuse
from sweeper.study.stop import StopRequest
from sweeper.tracking.outbox import Outbox
from sweeper.tracking.system import SystemMetrics
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import EndedBy, Outcome, TrialFacts, TrialResult
from sweeper.trial.spec import TrialSpec

POLL_S = 0.2
JOBS = 20  # of one trial that may be taken away in one start of the study

Ended = Callable[[TrialSpec, TrialResult], None]
Require = Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class _Watcher:
    """Passes what a running trial reports to MLflow, the terminal and whoever judges epochs."""

    spec: TrialSpec
    folder: TrialFolder
    outbox: Outbox | None
    display: StudyDisplay

    def on_progress(self, done: int, total: int) -> None:
        self.display.progress(self.spec.number, done, total)

    def on_epoch(self, report: EpochReport) -> bool:
        if self.outbox is not None:
            self.outbox.epoch(self.folder, report)
        self.display.epoch(self.spec.number, report)
        return False


class Trials:
    """The trials of one folder: started, watched, judged and recorded in one way."""

    def __init__(
        self,
        folder: Path,
        executor: Executor,
        outbox: Outbox | None,
        display: StudyDisplay,
        measured: bool,
        require: Require = lambda surely: None,
        system: SystemMetrics | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            folder: Holds the trial folders.
            executor: Where they run.
            outbox: Takes the records for MLflow; None keeps them to the folders.
            display: Takes the progress.
            measured: Whether a GPU shows what fits; else the prediction decides.
            require: Raises when trials must not go on; told whether it has to be sure of it, as
                before they are ended.
            system: Samples the machine while they run.
        """
        self._folder, self._executor, self._outbox = folder, executor, outbox
        self._display, self._measured, self._require = display, measured, require
        self._system = system
        self._running: dict[Future[TrialFacts], TrialSpec] = {}
        self._refused: list[tuple[TrialSpec, TrialResult]] = []
        self._taken_away: Counter[int] = Counter()
        self._stopping = False

    @property
    def running(self) -> int:
        """How many trials are under way."""
        return len(self._running) + len(self._refused)

    def folder(self, number: int) -> TrialFolder:
        """The folder of a trial."""
        return TrialFolder.of(self._folder, number)

    def run(self, next_spec: Callable[[], TrialSpec | None], ended: Ended) -> bool:
        """Keep every slot busy until there is nothing left; False when a signal stopped it.

        Args:
            next_spec: Asked whenever a slot is free; None when there is nothing to run now.
            ended: Hears of every trial that has ended and is recorded, and of every one that has
                come to the end of its part, which is recorded when it is decided.
        """
        with StopRequest() as stop:
            try:
                while not stop.reason:
                    self._require(False)
                    while self.running < self._executor.slots and (spec := next_spec()):
                        if not self._is_under_way(spec):
                            self._start(spec)
                    if not self.running:
                        return True
                    self._collect(ended, POLL_S)
                note = f"{stop.reason}: ending the running trials, writing what is known"
                self._display.note(note)
                self._stopping = True
                self._require(True)
                self._executor.close()
                self._collect(ended, None)
            except KeyboardInterrupt:  # a second signal
                self._abandon()
                raise
        return False

    def _abandon(self) -> None:
        """Record the trials that run as interrupted, unless there is something to judge later."""
        for spec in self._running.values():
            if self.left_behind(spec.number) is None:
                self.folder(spec.number).stop.touch()  # or a job that lives is followed again
                self.settle(spec, interrupt("the study was ended at once"))

    def run_one(self, spec: TrialSpec) -> TrialResult:
        """Run a single trial; a signal interrupts it."""
        todo, results = [spec], list[TrialResult]()
        self.run(lambda: todo.pop() if todo else None, lambda _, result: results.append(result))
        return results[0]

    def decide(self, spec: TrialSpec, result: TrialResult) -> None:
        """Record a trial that does not run, because its result is known."""
        self._open(spec)
        self.close(spec, result)

    def close(self, spec: TrialSpec, result: TrialResult) -> None:
        """Record the result of a trial that does not go on, and show it."""
        self.settle(spec, result)
        goes_on = result.paused and result.outcome is Outcome.COMPLETE
        self.folder(spec.number).drop_checkpoints(keep=result.trained if goes_on else 0)
        self._display.trial_finished(spec, result)

    def settle(self, spec: TrialSpec, result: TrialResult) -> None:
        """Record a result: the trial's folder first, which is the truth, then MLflow."""
        folder = self.folder(spec.number)
        folder.write_result(result)
        if self._outbox is not None:
            self._outbox.finish(spec, result, folder)

    def left_behind(self, number: int) -> TrialResult | None:
        """What a trial had come to, judged now if that had not happened.

        None if it was not started, or if no part of its training had ended.
        """
        folder = self.folder(number)
        if (result := folder.read_result()) is not None or not folder.exists:
            return result
        spec, part = folder.read_spec(), folder.read_part()
        if part is not None and part.trained > spec.trained:
            return part
        child = folder.read_child()  # of the part begun last
        return part if child is None else self._judge(spec, TrialFacts(child=child))

    def _start(self, spec: TrialSpec) -> None:
        refused = None if self._measured else refuse(spec)
        if refused is not None:
            self._refused.append((spec, refused))
            return
        folder = self._open(spec)
        if self._system is not None:
            self._system.enter(folder)
        self._running[self._executor.submit(folder, self._watcher(spec))] = spec

    def _is_under_way(self, spec: TrialSpec) -> bool:
        """Whether an earlier start has submitted just this, and it can be followed again."""
        folder = self.folder(spec.number)
        return folder.exists and folder.read_spec() == spec and self.reattach(spec)

    def _watcher(self, spec: TrialSpec) -> _Watcher:
        return _Watcher(spec, self.folder(spec.number), self._outbox, self._display)

    def reattach(self, spec: TrialSpec) -> bool:
        """Follow a trial again that an earlier start left running, if it still runs or has ended.

        What it comes to is heard of as of any other.
        """
        future = self._executor.reattach(self.folder(spec.number), self._watcher(spec))
        if future is not None:
            self._running[future] = spec
            self._display.trial_started(spec)
        return future is not None

    def _open(self, spec: TrialSpec) -> TrialFolder:
        """Give the trial its folder and its MLflow run."""
        folder = self.folder(spec.number)
        folder.prepare(spec)
        if self._outbox is not None:
            self._outbox.start(spec, folder)
        self._display.trial_started(spec)
        return folder

    def _collect(self, ended: Ended, timeout_s: float | None) -> None:
        """Record the trials that end within ``timeout_s``; None waits for all of them."""
        for spec, result in self._ended(timeout_s):
            ended(spec, result)

    def _ended(self, timeout_s: float | None) -> Iterator[tuple[TrialSpec, TrialResult]]:
        while self._refused:
            spec, result = self._refused.pop(0)
            self.decide(spec, result)
            yield spec, result
        when = "ALL_COMPLETED" if timeout_s is None else FIRST_COMPLETED
        for future in wait(self._running, timeout_s, when).done:
            spec = self._running.pop(future)
            if self._system is not None:
                self._system.leave(self.folder(spec.number))
            stopped = TrialFacts(ended_by=EndedBy.STUDY)
            facts = stopped if future.cancelled() else future.result()
            result = self._judge(spec, facts)
            if facts.ended_by is EndedBy.HOST and result.outcome is Outcome.INTERRUPTED:
                if self._again(spec, facts, result):
                    continue
                result = self._given_up(spec, result)
            if self._goes_on(spec, result):
                self._display.trial_paused(spec, result)
            else:
                self.close(spec, result)
            self.folder(spec.number).forget_job()
            yield spec, result

    def _given_up(self, spec: TrialSpec, result: TrialResult) -> TrialResult:
        """The result of a trial whose job is not submitted again."""
        if self._taken_away[spec.number] < JOBS:
            return result
        reason = f"its job was taken away {JOBS} times since the study was started"
        return replace(result, outcome=Outcome.CRASHED, reason=reason)

    def _again(self, spec: TrialSpec, facts: TrialFacts, result: TrialResult) -> bool:
        """Submit a part anew whose job was taken away; False where that happens too often."""
        self._taken_away[spec.number] += 1
        if self._stopping or self._taken_away[spec.number] >= JOBS:
            return False
        self._display.note(f"trial {spec.number}: {result.reason}; it goes on in another one")
        newest = self.folder(spec.number).newest_checkpoint()
        told = spec.trained + len(facts.epochs)  # a job tells of its own epochs only
        trained = max(newest if newest <= told else 0, spec.trained)
        self._start(replace(spec, trained=trained, spent_s=result.wall_time_s, held=result.memory))
        return True

    def _judge(self, spec: TrialSpec, facts: TrialFacts) -> TrialResult:
        """Judge a part that has ended; what it comes to is kept, if another one may follow."""
        result = judge(spec, facts)
        if result.paused:
            self.folder(spec.number).write_part(result)
        return result

    def _goes_on(self, spec: TrialSpec, result: TrialResult) -> bool:
        """Whether a later part may follow: this one has ended, or goes on from the one before.

        What says nothing of its cell takes nothing back that a trial had come to, when it is
        continued beyond its last rung.
        """
        if result.paused or not spec.trained:
            return result.paused
        if result.outcome is Outcome.INTERRUPTED:
            return self.folder(spec.number).read_part() is not None
        unproven = result.outcome.runs_again or result.outcome is Outcome.TIMEOUT
        return unproven and self.folder(spec.number).has_result


@contextmanager
def unrecorded_trials(folder: Path, devices: Devices, display: StudyDisplay) -> Iterator[Trials]:
    """Trials that leave nothing but their folders."""
    executor = LocalExecutor(devices.names)
    try:
        with display:
            yield Trials(folder, executor, None, display, measured=devices.gpu is not None)
    finally:
        executor.close()
