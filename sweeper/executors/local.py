"""Trials as child processes of this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

from sweeper.executors import Watcher
from sweeper.executors.machine import Machine, machine_here
from sweeper.executors.supervise import Supervisor
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import EndedBy, TrialFacts


class LocalExecutor:
    """One child process per trial, one trial at a time on each device.

    Attributes:
        slots: How many trials run at once.
    """

    def __init__(self, devices: Sequence[str] = ("cpu",)) -> None:
        """Start the fork server if it does not run yet.

        Args:
            devices: One entry per slot: ``cpu``, or a GPU's UUID.
        """
        self.slots = len(devices)
        self._machine = machine_here(self.slots).with_gpus(devices)
        self._free: SimpleQueue[str] = SimpleQueue()
        for device in devices:
            self._free.put(device)
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="trial")
        self._closing = threading.Event()
        self._names = {gpu.uuid: gpu.name for gpu in self._machine.gpus}
        self._supervisor = Supervisor(lambda: EndedBy.STUDY if self._closing.is_set() else None)

    def machine(self) -> Machine:
        """This one, with the GPUs that the slots use."""
        return self._machine

    def expect(self, trials: int) -> None:
        """The fork server has been starting all the while."""

    def submit(self, folder: TrialFolder, watcher: Watcher) -> Future[TrialFacts]:
        """Run the trial in a child as soon as a slot is free."""
        return self._pool.submit(self._run, folder, watcher)

    def reattach(self, folder: TrialFolder, watcher: Watcher) -> None:
        """Children end with the process that started them: there is none to find again."""

    def leave(self) -> None:
        """Children end with the process that started them."""

    def close(self) -> None:
        """Kill running children, whose futures then give ``interrupted``, and wait for them."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        device = self._free.get()
        try:
            facts = self._supervisor.run(folder, device, watcher)
            return replace(facts, device_name=self._names.get(device, device))
        finally:
            self._free.put(device)
