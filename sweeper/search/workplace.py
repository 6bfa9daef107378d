"""What every trial of a run shares: devices, budget, executor and records."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sweeper.compose import CONF_DIR
from sweeper.display import say
from sweeper.executors.devices import Devices, find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.ledger import Ledger
from sweeper.settings import Settings
from sweeper.specs import SpecBuilder
from sweeper.tracking import Tracker
from sweeper.trial import TrialSpec
from sweeper.vram.budget import Budget, Card, resolve_budget
from sweeper.vram.forecast import forecast


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
        return forecast(specs, Path(self.settings.runs_dir) / "cache" / "vram")

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


@contextlib.contextmanager
def open_workplace(settings: Settings, name: str) -> Iterator[Workplace]:
    """Devices, budget and an executor whose fork server warms up meanwhile."""
    devices = find_devices(settings.executor.slots)
    budget = resolve_budget(Card(**vars(settings.vram)), devices.gpu, CONF_DIR / "vram")
    threads = max(1, len(os.sched_getaffinity(0)) // len(devices.names))
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
