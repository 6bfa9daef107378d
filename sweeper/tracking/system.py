"""Samples the machine while trials run on it, by MLflow's own monitors and names."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import SystemSample

EVERY_S = 10.0  # as MLflow's monitor
LEAST_S = 1.0  # what a CPU does in less says nothing
PATIENCE_S = 1.0  # a driver that hangs holds up no trial

# One line per sample for what a GPU does not tell, e.g. a MIG instance its utilisation.
logging.getLogger(GPUMonitor.__module__).setLevel(logging.ERROR)


@dataclass(slots=True)
class _Running:
    folder: TrialFolder
    network: NetworkMonitor  # counts from its making
    samples: int


class SystemMetrics:
    """Keeps a sample every ten seconds, and one at the end, for each trial that runs.

    One thread samples, for all of them at once: psutil counts CPU time from one call to the next
    of the same thread.
    """

    def __init__(self, take: Callable[[TrialFolder, SystemSample], None], gpu: bool) -> None:
        """Nothing is sampled yet.

        Args:
            take: Hears of every sample that is kept.
            gpu: Whether the machine's GPUs are sampled, too.
        """
        self._take = take
        self._machine: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor()]
        with suppress(Exception):  # as MLflow's: a GPU that was lost ends no study
            self._machine += [GPUMonitor()] if gpu else []
        self._running: list[_Running] = []
        self._sampled_at = 0.0
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def enter(self, folder: TrialFolder) -> None:
        """Sample for a trial from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="system", daemon=True)
            self._thread.start()
        self._calls.put(partial(self._enter, folder))

    def leave(self, folder: TrialFolder) -> None:
        """Take the last sample of a trial."""
        left = threading.Event()
        self._calls.put(partial(self._leave, folder, left))
        left.wait(PATIENCE_S)

    def _run(self) -> None:
        while True:
            with suppress(Exception):  # what a driver or a full disk refuses costs a sample only
                try:
                    self._calls.get(timeout=EVERY_S)()
                except Empty:
                    self._sample()

    def _enter(self, folder: TrialFolder) -> None:
        self._sample()  # what the CPU has done until now is not this trial's
        self._running.append(_Running(folder, NetworkMonitor(), len(folder.read_samples())))

    def _leave(self, folder: TrialFolder, left: threading.Event) -> None:
        try:
            self._sample()
        finally:
            self._running = [r for r in self._running if r.folder != folder]
            left.set()

    def _sample(self) -> None:
        now = time.monotonic()
        if now - self._sampled_at < LEAST_S:
            return
        self._sampled_at = now
        machine = self._read(self._machine)
        for running in self._running:
            values = machine | self._read([running.network])
            sample = SystemSample(running.samples, time.time(), values)
            running.samples += 1
            running.folder.add_sample(sample)
            self._take(running.folder, sample)

    @staticmethod
    def _read(monitors: list[BaseMetricsMonitor]) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in monitors:
            monitor.clear_metrics()
            monitor.collect_metrics()
            values |= {k: float(v) for k, v in monitor.aggregate_metrics().items()}
        return values
