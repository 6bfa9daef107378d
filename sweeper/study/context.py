"""What every trial of a run shares: devices, budget, executor and records."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sweeper.config.settings import Settings
from sweeper.errors import StudyError
from sweeper.executors.devices import Devices, find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.memory.budget import Budget, find_budget
from sweeper.memory.predict.parallel import predict_specs
from sweeper.study.display import say
from sweeper.study.specs import SpecBuilder
from sweeper.tracking import Tracker
from sweeper.tracking.outbox import Ledger
from sweeper.trial.record import TrialSpec


@dataclass(frozen=True, slots=True)
class Workplace:
    """What every trial of a run shares."""

    console: Console
    settings: Settings
    name: str
    folder: Path
    devices: Devices
    executor: LocalExecutor
    budget: Budget
    builder: SpecBuilder

    def forecast(self, specs: list[TrialSpec]) -> list[TrialSpec]:
        """The specs with their predicted peaks."""
        return predict_specs(specs, Path(self.settings.runs_dir) / "cache" / "vram")

    @property
    def trials(self) -> Path:
        """Folder of the trial folders."""
        return self.folder / "trials"

    def open_ledger(self, params: dict[str, str], note: str, tags: dict[str, str]) -> Ledger:
        """Start to keep records; only when nothing can be refused any more."""
        self.trials.mkdir(parents=True, exist_ok=True)
        tracking = self.settings.tracking
        artifacts = Path(self.settings.runs_dir) / "mlartifacts"

        def connect() -> Tracker:
            tracker = Tracker(self.settings.tracking_uri, tracking.experiment, artifacts)
            tracker.start_study(self.name, params, note, tags)
            return tracker

        return Ledger(connect, self.trials, self.say)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        say(self.console, text)


LOCK = "study.lock"


@contextlib.contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a study; the lock ends with this process.

    Raises:
        StudyError: Another process runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError(
                f"study.name={folder.name} is being run by another process. Wait for it or stop "
                "it, or give another study.name."
            ) from error
        yield


def refuse_study_folder(folder: Path) -> None:
    """Keep trials without a study out of a study's folder, where numbers are Optuna's.

    Raises:
        StudyError: The folder is that of a study.
    """
    if (folder / LOCK).exists():
        raise StudyError(
            f"study.name={folder.name} is a study; a single trial goes elsewhere. "
            "Leave study.name out or give another one."
        )


@contextlib.contextmanager
def open_workplace(settings: Settings, name: str) -> Iterator[Workplace]:
    """Devices, budget and an executor whose fork server warms up meanwhile."""
    devices = find_devices(settings.executor.slots)
    budget = find_budget(settings.vram, devices.gpu)
    # One core stays free, as Ultralytics leaves one: threads waiting for a busy core spin.
    threads = max(1, (len(os.sched_getaffinity(0)) - 1) // len(devices.names))
    executor = LocalExecutor(devices.names)
    folder = Path(settings.runs_dir) / name
    builder = SpecBuilder(name, budget, threads)
    console = Console(highlight=False)
    place = Workplace(console, settings, name, folder, devices, executor, budget, builder)
    for note in (*devices.notes, budget.message):
        if note:
            place.say(note)
    try:
        yield place
    finally:
        executor.close()
