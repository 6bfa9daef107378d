"""The slots of a study on a Ray cluster: which jobs wait for one, and which are free."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import ray

from sweeper.executors.ray_actor import Slot
from sweeper.executors.ray_node import IDLE_S

NAMESPACE = "sweeper"
LISTEN_S = 0.2  # between two looks whether a slot has come
OPTIONS = {"lifetime": "detached", "max_restarts": 0, "max_concurrency": 4}


class Slots:
    """Detached actors, each for one job at a time; the job that waits longest is the next.

    Attributes:
        names: Of the slot that a job was given, by job.
        begun: Its answer to that, by job.
    """

    def __init__(self, study: str, resources: Callable[[], dict[str, Any]]) -> None:
        """Ask for no slot yet.

        Args:
            study: Begins the names of the slots.
            resources: What each asks for.
        """
        self._study, self._resources = study, resources
        self.names: dict[str, str] = {}
        self.begun: dict[str, Any] = {}
        self._changed = threading.Condition()  # guards what follows
        self._queue: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._idle: list[tuple[float, str]] = []  # since when, and the slot's name
        self._expected = 0  # jobs that will soon be queued
        self._coming: dict[str, tuple[Any, Any]] = {}  # a slot, and what tells that it has room

    def expect(self, jobs: int) -> None:
        """Ask for slots for jobs that will soon be queued."""
        with self._changed:
            self._expected = jobs
            self._settle()

    def queue(
        self, job: str, arguments: tuple[str, str, str | None, dict[str, list[Any]]]
    ) -> None:
        """Give a job the next slot that is free, with the arguments of its `begin`."""
        with self._changed:
            self._queue.append((job, arguments))
            self._expected = max(0, self._expected - 1)
            self._settle()

    def has_place(self, job: str) -> bool:
        """Whether the job has left the queue; waits a moment for that."""
        with self._changed:
            self._settle()
            if self.waits(job):
                self._changed.wait(LISTEN_S)
            return not self.waits(job)

    def waits(self, job: str) -> bool:
        """Whether the job is in the queue."""
        with self._changed:
            return any(queued == job for queued, _ in self._queue)

    def give_back(self, name: str) -> None:
        """A slot has become free."""
        with self._changed:
            self._idle.append((time.monotonic(), name))
            self._settle()

    def drop(self, job: str) -> None:
        """Take a job out of the queue, if it is there."""
        with self._changed:
            self._queue = deque(queued for queued in self._queue if queued[0] != job)
            self._settle()

    def close(self) -> None:
        """Give all free slots back to the cluster, and ask for none."""
        with self._changed:
            self._queue.clear()
            self._expected = 0
            self._settle()
            while (free := self._take()) is not None:
                ray.kill(free[1])

    def _settle(self) -> None:
        """Give free slots to the jobs that wait, and ask for as many as still do."""
        while self._queue and (free := self._take()) is not None:
            (job, arguments), (name, slot) = self._queue.popleft(), free
            self.names[job] = name
            self.begun[job] = slot.begin.remote(*arguments)
            self._changed.notify_all()
        wanted = len(self._queue) + self._expected
        while len(self._coming) < wanted:
            name = f"{self._study}/{token()}"
            slot = ray.remote(Slot).options(name=name, **OPTIONS, **self._resources()).remote()
            self._coming[name] = slot, slot.__ray_ready__.remote()
        while len(self._coming) > wanted:
            ray.kill(self._coming.popitem()[1][0])

    def _take(self) -> tuple[str, Any] | None:
        """A slot that has come, or one that waits for a job and will not give up meanwhile."""
        while self._idle:
            since, name = self._idle.pop()
            slot = find_actor(name)
            if slot is not None and time.monotonic() - since < IDLE_S / 2:
                return name, slot
        for name, (slot, ready) in list(self._coming.items()):
            if ray.wait([ready], timeout=0)[0]:
                del self._coming[name]
                if find_actor(name) is not None:  # else it gave up meanwhile
                    return name, slot
        return None


def find_actor(name: str) -> Any:
    """A slot; None where the cluster knows none of that name."""
    try:
        return ray.get_actor(name, NAMESPACE)
    except ValueError:
        return None


def token() -> str:
    """A name that nothing else has."""
    return uuid.uuid4().hex[:8]
