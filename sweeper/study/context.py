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
from sweeper.errors import SettingsError, StudyError
from sweeper.executors import Executor
from sweeper.executors.debug import DebugExecutor
from sweeper.executors.devices import Devices, find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.memory.budget import Budget, find_budget
from sweeper.memory.predict.parallel import predict_specs
from sweeper.study.display import StudyDisplay, say
from sweeper.study.specs import SpecBuilder
from sweeper.study.trials import Trials
from sweeper.tracking import Tracker
from sweeper.tracking.outbox import Outbox
from sweeper.trial.record import SIMULATED, TrialSpec
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import StudyRecord, StudyStatus


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every trial of a run shares."""

    console: Console
    settings: Settings
    name: str
    folder: StudyFolder
    devices: Devices
    executor: Executor
    budget: Budget
    builder: SpecBuilder

    @property
    def measured(self) -> bool:
        """Whether a GPU, physical or emulated, shows what fits; else memory is predicted."""
        return self.devices.gpu is not None

    @property
    def source(self) -> str:
        """What the peaks are: ``measured``, ``emulated`` or ``simulated``."""
        return self.devices.gpu.source if self.devices.gpu else SIMULATED

    def predict(self, specs: list[TrialSpec]) -> list[TrialSpec]:
        """The specs with their predicted peaks."""
        return predict_specs(specs, Path(self.settings.runs_dir) / "cache" / "vram")

    def open_outbox(self, study: StudyRecord, note: str, older: bool = False) -> Outbox:
        """Start to keep records; only when nothing can be refused any more.

        ``older``: whether MLflow may know the study by its name only.
        """
        record = self.folder.write_start(study)
        artifacts = Path(self.settings.runs_dir) / "mlartifacts"

        def connect() -> Tracker:
            tracker = Tracker(record.tracking_uri, record.experiment, artifacts)
            tracker.start_study(record, note, older)
            return tracker

        return Outbox(connect, self.folder.trials, self.say)

    def close(self, outbox: Outbox, done: bool) -> None:
        """Record how the run ended."""
        self.folder.write_end(StudyStatus.FINISHED if done else StudyStatus.KILLED)
        outbox.finish_study(done)

    def open_trials(self, outbox: Outbox, display: StudyDisplay) -> Trials:
        """What runs the trials of this run."""
        return Trials(self.folder.trials, self.executor, outbox, display, self.measured)

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
def open_context(settings: Settings, name: str) -> Iterator[RunContext]:
    """Devices, budget and an executor whose fork server warms up meanwhile."""
    devices = find_devices(settings.executor.slots)
    budget = find_budget(settings.vram, devices.gpu)
    # One core stays free, as Ultralytics leaves one: threads waiting for a busy core spin.
    threads = max(1, (len(os.sched_getaffinity(0)) - 1) // len(devices.names))
    executor = _executor(settings, devices)
    folder = StudyFolder(Path(settings.runs_dir) / name)
    builder = SpecBuilder(name, budget, threads)
    # A live display would paint over a debugger.
    plain = isinstance(executor, DebugExecutor)
    console = Console(highlight=False, force_terminal=False if plain else None)
    context = RunContext(console, settings, name, folder, devices, executor, budget, builder)
    for note in (*devices.notes, budget.message):
        if note:
            context.say(note)
    try:
        yield context
    finally:
        executor.close()


def _executor(settings: Settings, devices: Devices) -> Executor:
    if settings.executor.name != "debug":
        return LocalExecutor(devices.names)
    if devices.gpu is not None:
        raise SettingsError(
            "executor=debug trains on the CPU and measures nothing. Hide the GPU: "
            "CUDA_VISIBLE_DEVICES= python -m sweeper executor=debug …"
        )
    return DebugExecutor()
