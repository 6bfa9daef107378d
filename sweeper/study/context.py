"""What every trial of a run shares: machine, budget, executor and records."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
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
from sweeper.numbers import count
from sweeper.study.display import StudyDisplay, say
from sweeper.study.pace import Pace, epochs_after_search
from sweeper.study.specs import SpecBuilder
from sweeper.study.trials import Require, Trials
from sweeper.tracking import Tracker
from sweeper.tracking.outbox import Outbox
from sweeper.tracking.system import SystemMetrics
from sweeper.trial.readings import MEASURED, SIMULATED
from sweeper.trial.spec import DatasetFacts, TrialSpec
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import StudyRecord, StudyStatus

FOLDER_PATIENCE_S = 20.0
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


def refuse_study_folder(folder: StudyFolder) -> None:
    """Keep trials without a study out of a study's folder, where numbers are Optuna's.

    Raises:
        StudyError: The folder is that of a study.
    """
    earlier = folder.read()
    if earlier is not None and earlier.space is not None:
        raise StudyError(
            f"study.name={folder.path.name} is a study; a single trial goes elsewhere. "
            "Leave study.name out or give another one."
        )


def await_shared_folder(folder: StudyFolder, study_id: str) -> None:
    """Join only where the study's record is, which its driver writes when it starts.

    Raises:
        StudyError: It does not come.
    """
    give_up_at = time.monotonic() + FOLDER_PATIENCE_S
    while (record := folder.read()) is None or record.id != study_id:
        if time.monotonic() > give_up_at:
            raise StudyError(
                f"study.join=true: {folder.path} is not the folder that the study is run in. All "
                "its drivers need one runs_dir, on a file system that they share."
            )
        time.sleep(0.5)


def require_own_folder(folder: StudyFolder, study_id: str, decided: Iterable[int]) -> None:
    """Go on only where the folder is the study's, and holds every trial that counts.

    Args:
        folder: By the study's name.
        study_id: The study's.
        decided: The numbers of its trials that have ended and do not run again.

    Raises:
        StudyError: It is that of another study, or trials are missing: without their records the
            study would come to another answer.
    """
    earlier = folder.read()
    if earlier is not None and earlier.id not in {"", study_id}:
        raise StudyError(
            f"{folder.path} holds another study of this name, which study.storage does not know. "
            "Give another study.name or runs_dir."
        )
    missing = [number for number in decided if not folder.trial(number).exists]
    if missing:
        shown = ", ".join(map(str, missing[:5])) + ", …" * (len(missing) > 5)
        raise StudyError(
            f"{folder.trials} lacks {count(len(missing), 'trial')} that the stored study has "
            f"({shown}): it was run elsewhere. Give the runs_dir that it was run with, copy "
            f"{folder.path.name}/ from there, or give another study.name."
        )


def require_same_data(
    folder: StudyFolder, decided: Iterable[int], specs: Iterable[TrialSpec]
) -> str:
    """Go on only with the data set that the earlier trials had.

    Args:
        folder: Of the study.
        decided: The numbers of its trials that have ended and do not run again.
        specs: What is to be trained now.

    Returns:
        A caution where it is not quite the same; empty where it is.

    Raises:
        StudyError: Images or boxes have been added or taken away.
    """
    now, caution = {spec.data: spec.dataset for spec in specs}, ""
    for spec in (folder.trial(number).read_spec() for number in decided):
        facts = now.get(spec.data)
        change = change_of_data(spec, facts)
        if change and facts and spec.dataset and spec.dataset.size != facts.size:
            raise StudyError(
                f"{change}. Its cells cannot be compared across that: bring the data set back, or "
                "give another study.name."
            )
        caution = f"caution: {change}" if change else caution
    return caution


def change_of_data(spec: TrialSpec, facts: DatasetFacts | None) -> str:
    """How a data set differs from what a trial had; empty where it does not, or is not known."""
    before = spec.dataset
    if before is None or facts is None or before.digest == facts.digest:
        return ""
    if before.size != facts.size:
        return (
            f"data={spec.data} has {facts.describe()} now; when trial {spec.number} of "
            f"study.name={spec.study} ran, it had {before.describe()}"
        )
    return (
        f"data={spec.data} is not quite what earlier trials trained on: its classes, "
        "its boxes or the sizes of its files have changed"
    )


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
