"""Trials as jobs of a scheduler: submitted, followed by what they write, found again."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from sweeper.errors import MachineError, StudyError
from sweeper.executors import Watcher
from sweeper.executors.events import EventReader
from sweeper.executors.machine import Machine
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json, write_json
from sweeper.trial.record import EndedBy, TrialFacts

POLL_S = 0.5  # between two looks at one job
ASK_S = 3.0  # between two questions to the scheduler about one job
LINGER_S = 15.0  # how long a file server may hide what a job that is gone has written
SILENCE_S = 180.0  # without a heartbeat a machine is taken to be gone
FOUND_AGAIN = 64  # jobs of an earlier start that may be followed beside the slots
STOP_S = 40.0  # how long jobs that are told to stop may take before they are cancelled


class Scheduler(Protocol):
    """Where jobs run: what Slurm and Ray do differently."""

    def expect(self, trials: int) -> None:
        """Get ready for that many at once, where that helps."""

    def submit(self, folder: TrialFolder) -> str:
        """Start a job that runs the trial of ``folder``; its id.

        Raises:
            OSError: The scheduler does not take it.
        """
        ...

    def is_alive(self, job: str) -> bool:
        """Whether the job waits or runs; True as well where the scheduler does not answer."""
        ...

    def fetch(self, folder: TrialFolder, job: str) -> None:
        """Wait for news, `POLL_S` at most, and bring what the job has written into ``folder``."""

    def stop(self, folder: TrialFolder, job: str) -> None:
        """Ask a job to end its trial."""

    def cancel(self, job: str) -> None:
        """Take a job away, wherever it stands; one that has ended is fine."""

    def why(self, job: str) -> str:
        """Where a person learns why a job ended before it began."""
        ...

    def probe(self) -> Machine:
        """The machine that a job finds, with the GPU that it is given.

        Raises:
            SweeperError: No job could tell.
        """
        ...

    def close(self) -> None:
        """Leave the scheduler."""


class JobExecutor:
    """Trials as jobs, ``slots`` of them queued or running at a time.

    Attributes:
        slots: How many.
    """

    def __init__(self, scheduler: Scheduler, slots: int, pinned: Path | None) -> None:
        """Nothing is submitted yet.

        Args:
            scheduler: Takes the jobs.
            slots: How many at a time.
            pinned: File that keeps what the first probe of the study found; None where each start
                is its own.
        """
        self.slots = slots
        self._scheduler, self._pinned = scheduler, pinned
        self._pool = ThreadPoolExecutor(slots + FOUND_AGAIN, thread_name_prefix="job")
        self._leaving, self._closing = threading.Event(), threading.Event()

    def machine(self) -> Machine:
        """What a first job found; all others must find the same kind of device.

        Raises:
            SweeperError: No job could tell, or it was given several GPUs.
        """
        if self._pinned is not None and self._pinned.exists():
            return from_json(Machine, self._pinned.read_text(), str(self._pinned))
        machine = self._scheduler.probe()
        if machine.crowd:
            raise MachineError(machine.crowd)
        if self._pinned is not None:
            self._pinned.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._pinned, machine)
        return machine

    def expect(self, trials: int) -> None:
        """Let the scheduler get ready, for as many as there are slots at most."""
        self._scheduler.expect(min(trials, self.slots))

    def submit(self, folder: TrialFolder, watcher: Watcher) -> Future[TrialFacts]:
        """Queue a job for the trial, and follow it."""
        return self._pool.submit(self._run_twice, folder, watcher)

    def reattach(self, folder: TrialFolder, watcher: Watcher) -> Future[TrialFacts] | None:
        """Follow the job again that another process submitted; None where there is none to follow.

        That is one which has left its facts, or lives, and was not told to stop.
        """
        job = folder.read_job()
        if job is None or folder.stop.exists():
            return None
        with suppress(StudyError):  # facts that cannot be read are none
            if folder.read_facts() is not None or self._scheduler.is_alive(job):
                return self._pool.submit(self._follow, folder, job, watcher)
        return None

    def leave(self) -> None:
        """Follow no job any more, and stop none of them."""
        self._leaving.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Stop all jobs, whose futures then give ``interrupted``; none stays in the queue.

        After `leave` there are none.
        """
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._scheduler.close()

    def _run_twice(self, folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        """Run the trial; again if it did not begin: it may have been the node's fault."""
        facts = self._run(folder, watcher)
        return self._run(folder, watcher) if facts.no_start else facts

    def _run(self, folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        try:
            job = self._scheduler.submit(folder)
        except OSError as error:
            return TrialFacts(no_start=str(error))
        try:
            folder.write_job(job)
        except OSError as error:
            self._scheduler.cancel(job)
            return TrialFacts(no_start=str(error))
        return self._follow(folder, job, watcher)

    def _follow(self, folder: TrialFolder, job: str, watcher: Watcher) -> TrialFacts:
        """Listen until the job has left its facts, or is gone without."""
        reader = EventReader(folder.events, watcher)
        asked = heard = time.monotonic()
        last, stopped_at, gone_at = 0.0, 0.0, 0.0
        while not self._leaving.is_set():
            self._scheduler.fetch(folder, job)
            reader.pass_on()
            if (facts := folder.read_facts()) is not None:
                return facts
            now = time.monotonic()
            if reader.last != last:
                last, heard = reader.last, now
            if self._closing.is_set() and not stopped_at:
                stopped_at = now
                folder.stop.touch()
                self._scheduler.stop(folder, job)
                if reader.started is None:  # it waits in the queue, and never looks
                    self._scheduler.cancel(job)
                    return _lost(reader, EndedBy.STUDY)
            if not gone_at and now - asked > ASK_S:
                asked = now
                gone_at = 0.0 if self._scheduler.is_alive(job) else now
            silent = reader.started is not None and now - heard > SILENCE_S
            overdue = stopped_at and now - stopped_at > STOP_S
            if silent or overdue or (gone_at and now - gone_at > LINGER_S):
                self._scheduler.cancel(job)
                if reader.started is None and not folder.read_spec().trained:
                    why = self._scheduler.why(job)
                    return TrialFacts(no_start=f"job {job} ended before it began; {why}")
                return _lost(reader, EndedBy.STUDY if stopped_at else EndedBy.HOST)
        return _lost(reader, EndedBy.STUDY)


def _lost(reader: EventReader, ended_by: EndedBy) -> TrialFacts:
    """What is known of a trial whose job left no facts."""
    wall_time_s = reader.last - reader.started if reader.started is not None else 0.0
    return TrialFacts(epochs=tuple(reader.epochs), ended_by=ended_by, wall_time_s=wall_time_s)
