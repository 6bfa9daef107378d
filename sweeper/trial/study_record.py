"""A study and its trials as they were recorded, whatever they were read from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sweeper.str_enum import StrEnum
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec

RUNNING = "running"  # what people read in place of an outcome
WAITS = "waits at a rung"  # of a study that was stopped: nothing runs


class StudyStatus(StrEnum):
    """How far a study is; the values are MLflow's."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    KILLED = "KILLED"  # stopped; the same command continues it


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """What a study was asked, and where it ran; of a resumed one, as it was last started.

    Attributes:
        name: Study name.
        limit_gib: The budget: the limit on peak device memory, GiB.
        budget_source: Where the budget comes from, for people.
        space: The search space, for people; None for trials that are run one at a time.
        fixed: The overrides that all trials share, as typed; None as above.
        command: What runs the study again; None as above.
        n_trials: Trials that were asked for; None as above.
        machine: The machine, for people.
        versions: Versions of sweeper and its libraries, for people.
        git_commit: The commit of sweeper; empty when it is not known.
        tracking_uri: Where its MLflow runs are.
        experiment: Their MLflow experiment.
        started: First start, Unix seconds.
        last_started: Latest start, Unix seconds.
        status: How far it is.
        id: Tells it from others of the same name; empty in records of before there were ids.
    """

    name: str
    limit_gib: float
    budget_source: str = ""
    space: str | None = None
    fixed: str | None = None
    command: str | None = None
    n_trials: int | None = None
    machine: str = ""
    versions: str = ""
    git_commit: str = ""
    tracking_uri: str = ""
    experiment: str = ""
    started: float = 0.0
    last_started: float = 0.0
    status: StudyStatus = StudyStatus.RUNNING
    id: str = ""

    @property
    def is_articles(self) -> bool:
        """Whether it is set up as the article's, of ``experiment=article``."""
        return "experiment=article" in shlex.split(self.fixed or "")


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """The part of ``deploy.json`` that a report shows.

    Attributes:
        trial: Number of the trial whose weights were exported; None when they came from a file.
        metrics: Numbers of each export under MLflow's names: ``deploy/onnx/map50``.
        emulated: Whether they come from an emulated card: then times are the CPU's.
    """

    trial: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """One trial of a study.

    Attributes:
        spec: What it was told.
        result: What it came to; None while it runs.
        run_id: Its MLflow run, where that is known.
        deployment: What its exports came to; None unless its weights were exported.
        part: What it had come to at the end of its last part, so long as there is no result and
            where its folder is at hand.
    """

    spec: TrialSpec
    result: TrialResult | None = None
    run_id: str | None = None
    deployment: DeploymentRecord | None = None
    part: TrialResult | None = None

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.spec.number

    @property
    def waits(self) -> bool:
        """Whether a part of its training has ended and nothing is decided yet."""
        return self.result is None and self.part is not None

    @property
    def at_rung(self) -> RecordedTrial:
        """The same with what its last part came to, where it waits, as its result."""
        return replace(self, result=self.part) if self.waits else self

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs."""
        return self.result.outcome if self.result else None

    @property
    def state(self) -> str:
        """The outcome as people read it, or ``running``."""
        return self.result.outcome.value if self.result else RUNNING

    @property
    def reason(self) -> str:
        """Why it ended so; empty when complete."""
        return self.result.reason if self.result else ""

    @property
    def infeasible(self) -> bool:
        """Whether the outcome says that the trial does not fit the budget."""
        return self.result is not None and self.result.outcome.infeasible

    @property
    def map50(self) -> float | None:
        """mAP at IoU 0.5, 0 to 1."""
        return _number(self.result.map50) if self.result else None

    @property
    def trained(self) -> str:
        """How far it was trained: ``14 of 40`` epochs, or ``40``; empty when not at all."""
        done = self.result.trained if self.result else 0
        if not done:
            return ""
        return str(done) if done >= self.spec.epochs else f"{done} of {self.spec.epochs}"

    @property
    def paused(self) -> bool:
        """Whether its run has not come to its end, and could go on."""
        return self.result is not None and self.result.paused

    @property
    def finished(self) -> bool:
        """Whether it was continued from a rung to the end of its run, as `study.finish` does."""
        continued = self.spec.trained > 0 and self.spec.until is None
        return continued and self.outcome is Outcome.COMPLETE and not self.paused

    @property
    def stands(self) -> bool:
        """Whether it was trained as intended: to the end of its run, or to a rung."""
        ended = self.outcome is Outcome.COMPLETE
        return self.map50 is not None and (
            ended or (self.outcome is Outcome.PRUNED and self.paused)
        )

    @property
    def whole_s(self) -> float | None:
        """Time of the whole run by its median epoch: start-up tells no two cells apart."""
        if self.result is None or not self.stands:
            return None
        if not self.result.trained:  # a record of version 0.1
            return self.wall_time_s
        epochs = self.spec.epochs if self.result.paused else self.result.trained
        of_one = self.result.wall_time_s / self.result.trained
        return epochs * (self.result.epoch_s or of_one)

    @property
    def wall_time_s(self) -> float | None:
        """Process start to end."""
        return _number(self.result.wall_time_s) if self.result else None

    @property
    def peak_gib(self) -> float | None:
        """Peak device memory."""
        memory = self.result.memory if self.result else None
        return _number(memory.peak_gib) if memory else None

    @property
    def vram_source(self) -> str | None:
        """``measured``, ``emulated``, ``simulated``, or None when no peak is known."""
        memory = self.result.memory if self.result else None
        return memory.source if memory else None

    @property
    def parts(self) -> dict[str, float]:
        """The peak broken down, GiB by part, the context included."""
        memory = self.result.memory if self.result else None
        if memory is None:
            return {}
        parts = {name: size for name, size in memory.parts.items() if size}
        if parts and memory.context_gib is not None:
            parts["context"] = memory.context_gib
        return parts

    @property
    def implied_by(self) -> int | None:
        """Number of the trial that is the evidence for an outcome without a run."""
        return self.result.implied_by if self.result else None


Points = list[tuple[int, float]]  # (epoch, value), in the order of the epochs
CurveReader = Callable[[RecordedTrial, str], Points]


def recorded_curve(trial: RecordedTrial, name: str) -> Points:
    """The curve of a field of `EpochReport`, from the trial's own result."""
    reports: tuple[EpochReport, ...] = trial.result.epochs if trial.result else ()
    return [(report.epoch, getattr(report, name)) for report in reports]


@dataclass(frozen=True, slots=True)
class RecordedStudy:
    """A study with its trials.

    Attributes:
        study: What was asked.
        trials: In the order of their numbers.
        unreadable: The folders or MLflow runs that hold no readable trial.
        curve: Reads the curve of a trial by the name of a field of `EpochReport`.
    """

    study: StudyRecord
    trials: tuple[RecordedTrial, ...] = ()
    unreadable: tuple[str, ...] = ()
    curve: CurveReader = field(default=recorded_curve, compare=False)


def _number(value: float | None) -> float | None:
    """The value; None where it is NaN."""
    return None if value is None or math.isnan(value) else value
