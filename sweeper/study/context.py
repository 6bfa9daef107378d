"""What every trial of a run shares: machine, budget, executor and records."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sweeper.config.settings import Settings
from sweeper.errors import StudyError
from sweeper.executors import Executor
from sweeper.executors.machine import Machine
from sweeper.executors.opening import open_executor
from sweeper.memory.budget import Budget
from sweeper.memory.cards import find_budget
from sweeper.memory.predict.parallel import predict_specs
from sweeper.study.display import StudyDisplay, say
from sweeper.study.pace import Pace, epochs_after_search
from sweeper.study.specs import SpecBuilder
from sweeper.study.trials import Require, Trials
from sweeper.tracking import Tracker
from sweeper.tracking.outbox import Outbox
from sweeper.tracking.system import SystemMetrics
from sweeper.trial.readings import MEASURED, SIMULATED
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import StudyRecord, StudyStatus

STOP_PATIENCE_S = 1.0  # for each record that an MLflow server is to take after Ctrl-C


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every trial of a run shares."""

    console: Console
    settings: Settings
    name: str
    folder: StudyFolder
    machine: Machine
    executor: Executor
    budget: Budget
    builder: SpecBuilder

    @property
    def measured(self) -> bool:
        """Whether a GPU, physical or emulated, shows what fits; else memory is predicted."""
        return self.machine.gpu is not None

    @property
    def source(self) -> str:
        """What the peaks are: ``measured``, ``emulated`` or ``simulated``."""
        return self.machine.gpu.source if self.machine.gpu else SIMULATED

    def predict(self, specs: list[TrialSpec]) -> list[TrialSpec]:
        """The specs with their predicted peaks; the executor gets ready for them meanwhile."""
        self.executor.expect(len(specs))
        return predict_specs(specs, Path(self.settings.runs_dir) / "cache" / "vram")

    def open_outbox(
        self, study: StudyRecord, note: str, older: bool = False, leads: bool = True
    ) -> Outbox:
        """Start to keep records; only when nothing can be refused any more.

        Args:
            study: What was asked.
            note: Markdown that the MLflow UI shows on top.
            older: Whether MLflow may know the study by its name only.
            leads: Whether the study's own record is this driver's.
        """
        record = self.folder.write_start(study) if leads else study
        artifacts = Path(self.settings.runs_dir) / "mlartifacts"

        def connect() -> Tracker:
            tracker = Tracker(record.tracking_uri, record.experiment, artifacts)
            tracker.start_study(record, note, older, leads)
            return tracker

        local = record.tracking_uri.startswith("sqlite:")
        patience_s = math.inf if local else STOP_PATIENCE_S
        return Outbox(connect, self.folder.trials, self.say, patience_s)

    def close(self, outbox: Outbox, done: bool) -> bool:
        """Record how the run ended; False where MLflow takes nothing now."""
        self.folder.write_end(StudyStatus.FINISHED if done else StudyStatus.KILLED)
        return outbox.finish_study(done)

    @contextlib.contextmanager
    def ended_at_once(self, outbox: Outbox, leads: bool = True) -> Iterator[None]:
        """Record the end of the run also where a second signal comes; a third one ends that."""
        try:
            yield
        except KeyboardInterrupt:
            if leads:
                self.close(outbox, done=False)
            else:
                outbox.leave()
            raise

    @contextlib.contextmanager
    def jobs_ended(self, require: Require) -> Iterator[None]:
        """End the jobs at the end, unless ``require`` raises: they may be another driver's."""
        try:
            yield
        finally:
            try:
                require(True)
            except StudyError:
                self.executor.leave()
            self.executor.close()

    def open_trials(
        self, outbox: Outbox, display: StudyDisplay, require: Require = lambda surely: None
    ) -> Trials:
        """What runs the trials of this run, while ``require`` raises nothing."""
        here = self.settings.executor.is_here  # else what it does says nothing of the trials
        system = SystemMetrics(outbox.sample, gpu=self.source == MEASURED) if here else None
        folder = self.folder.trials
        return Trials(folder, self.executor, outbox, display, self.measured, require, system)

    def open_display(self) -> StudyDisplay:
        """What shows a study's trials, and how long they take."""
        return StudyDisplay(self.console, Pace(epochs_after_search(self.settings)))

    def say(self, text: str) -> None:
        """Print a line as it is."""
        say(self.console, text)


@contextlib.contextmanager
def open_context(settings: Settings, name: str) -> Iterator[RunContext]:
    """An executor, the machine where it runs trials, and their budget."""
    folder = StudyFolder(Path(settings.runs_dir) / name)
    # A live display would paint over a debugger.
    plain = settings.executor.name == "debug"
    console = Console(highlight=False, force_terminal=False if plain else None)
    executor = open_executor(settings.executor, folder.path)
    if not settings.executor.is_here:
        say(console, f"executor={settings.executor.name}: a first job tells what trials will find")
    try:
        machine = executor.machine()
        budget = find_budget(settings.vram, machine.gpu)
        builder = SpecBuilder(name, budget, machine.threads, machine.kind)
        context = RunContext(console, settings, name, folder, machine, executor, budget, builder)
        for note in (*machine.notes, budget.message):
            if note:
                context.say(note)
        yield context
    finally:
        executor.close()
