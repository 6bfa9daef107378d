"""What sweeper reads back from MLflow: a study and its trials, in pages."""

from __future__ import annotations

import gc
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from sqlalchemy.exc import SQLAlchemyError

from sweeper.errors import StudyError, first_line

RUNNING = "running"
LAST_START = "last_start"  # tag of a study's parent run: UTC, ISO 8601
NEEDED = {"batch", "accumulate", "amp"}
PAGE = 1000


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as MLflow holds it, under the names that `sweeper.tracking.writer` lists.

    Numbers are None where the run has none, or has NaN.
    """

    run_id: str
    number: int
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def outcome(self) -> str:
        """An `Outcome` value, or ``running``."""
        return self.tags.get("outcome", RUNNING)

    @property
    def reason(self) -> str:
        """Why it ended so; empty when complete."""
        return self.tags.get("reason", "")

    @property
    def label(self) -> str:
        """The cell as people say it."""
        return self.tags[MLFLOW_RUN_NAME]

    @property
    def strategy(self) -> str:
        """The memory strategy's name, or the cell's label."""
        return self.params.get("strategy", self.label)

    @property
    def batch(self) -> int:
        """Images per forward/backward."""
        return int(self.params["batch"])

    @property
    def accumulate(self) -> int:
        """Micro-batches per optimizer step."""
        return int(self.params["accumulate"])

    @property
    def amp(self) -> bool:
        """Whether autocast was asked for."""
        return self.params["amp"] == "True"

    @property
    def seed(self) -> int:
        """Seed of weights and data order."""
        return int(self.params.get("seed", "0"))

    @property
    def epochs(self) -> int | None:
        """Epochs that were asked for."""
        return int(self.params["epochs"]) if "epochs" in self.params else None

    @property
    def map50(self) -> float | None:
        """mAP at IoU 0.5, 0 to 1."""
        return self.metric("map50")

    @property
    def peak_gib(self) -> float | None:
        """Peak device memory."""
        return self.metric("peak_gib")

    @property
    def wall_time_s(self) -> float | None:
        """Process start to end."""
        return self.metric("wall_time_s")

    @property
    def vram_source(self) -> str | None:
        """``measured``, ``simulated``, or None when no peak is known."""
        source = self.tags.get("vram_source", "none")
        return None if source == "none" else source

    @property
    def implied_by(self) -> int | None:
        """Number of the trial that is the evidence for an outcome without a run."""
        return _number(self.tags.get("implied_by"))

    @property
    def confirms(self) -> int | None:
        """Number of the trial that this one repeats with another seed."""
        return _number(self.tags.get("confirms"))

    @property
    def overrides(self) -> tuple[str, ...]:
        """The Hydra overrides that make the cell."""
        text = self.tags.get("overrides", "")
        return tuple(shlex.split(text) if "'" in text else text.split())  # shlex is slow

    @property
    def parts(self) -> dict[str, float]:
        """The peak broken down, GiB by part, the context included."""
        parts = {
            k.removeprefix("part_").removesuffix("_gib"): v
            for k, v in self.metrics.items()
            if k.startswith("part_")
        }
        context = self.metric("context_gib")
        return {**parts, "context": context} if parts and context is not None else parts

    def metric(self, name: str) -> float | None:
        """The last value of a metric."""
        value = self.metrics.get(name)
        return None if value is None or math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study as MLflow holds it.

    Attributes:
        run_id: Its parent run.
        name: Study name.
        params: Parameters of the parent run.
        trials: In order of their numbers.
        tags: Tags of the parent run.
        status: MLflow's status of the parent run.
        started: When it was first started, Unix seconds.
        unreadable: Runs that lack what makes them a trial.
    """

    run_id: str
    name: str
    params: dict[str, str]
    trials: tuple[TrialRecord, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "FINISHED"
    started: float = 0.0
    unreadable: tuple[str, ...] = ()


def find_study(client: MlflowClient, experiment_id: str, study: str | None) -> Run | None:
    """The parent run of a study, or of the one that was started last, anew or again."""
    named = f" and tags.study = '{study}'" if study else ""
    latest = [f"tags.{LAST_START} DESC"]
    runs = client.search_runs(
        [experiment_id], f"tags.kind = 'study'{named}", max_results=1, order_by=latest
    )
    return runs[0] if runs else None


def read_study(uri: str, experiment: str, name: str | None) -> StudyRecord:
    """Read a study, or the latest one, from an MLflow server or database.

    Raises:
        StudyError: There is no such study, or MLflow does not answer.
    """
    try:
        return _read_study(uri, experiment, name)
    except (MlflowException, SQLAlchemyError) as error:
        raise StudyError(
            f"tracking.uri={uri} does not answer: {first_line(error)}. Start the server, or give "
            "the tracking.uri that the study was run with."
        ) from error


def _read_study(uri: str, experiment: str, name: str | None) -> StudyRecord:
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    parent = find_study(client, found.experiment_id, name) if found else None
    if found is None or parent is None:
        wanted = f"study.name={name}" if name else "any study"
        raise StudyError(
            f"{wanted} is not in {uri}. Run one first: python -m sweeper -m experiment=demo"
        )
    study = parent.data.tags["study"]
    runs = _trial_runs(client, found.experiment_id, study)
    records = [_trial_record(r) for r in runs]
    trials = [t for t in records if t.params.keys() >= NEEDED]
    return StudyRecord(
        parent.info.run_id,
        study,
        dict(parent.data.params),
        tuple(sorted(trials, key=lambda t: t.number)),
        dict(parent.data.tags),
        parent.info.status,
        parent.info.start_time / 1000,
        tuple(t.run_id for t in records if not t.params.keys() >= NEEDED),
    )


def read_curve(uri: str, run_id: str, metric: str) -> list[tuple[int, float]]:
    """The points (epoch, value) of one epoch metric of one trial."""
    history = MlflowClient(tracking_uri=uri).get_metric_history(run_id, metric)
    return sorted({m.step: m.value for m in history}.items())


def _trial_runs(client: MlflowClient, experiment_id: str, study: str) -> list[Run]:
    wanted = f"tags.study = '{study}' and tags.kind = 'trial'"
    runs: list[Run] = []
    token = None
    with _garbage_left():
        while token != "":
            page = client.search_runs([experiment_id], wanted, max_results=PAGE, page_token=token)
            runs += page
            token = page.token or ""
    return runs


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Keep the collector away from the dozens of objects that SQLAlchemy makes per trial.

    It would search them all again and again, which triples the time of 10,000 trials.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _trial_record(run: Run) -> TrialRecord:
    tags = dict(run.data.tags)
    return TrialRecord(
        run.info.run_id, int(tags["trial"]), dict(run.data.params), dict(run.data.metrics), tags
    )


def _number(text: str | None) -> int | None:
    return int(text) if text else None
