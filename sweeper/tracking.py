"""The one door to MLflow: one parent run per study, one nested run per trial."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
)

from sweeper.command import yolo_command
from sweeper.errors import StudyError
from sweeper.trial import EpochReport, Outcome, TrialResult, TrialSpec

# Every name that sweeper writes to MLflow, and where its value comes from.
PARAMS: dict[str, Callable[[TrialSpec], Any]] = {
    "strategy": lambda s: s.strategy,
    "batch": lambda s: s.batch,
    "accumulate": lambda s: s.accumulate,
    "effective_batch": lambda s: s.effective_batch,
    "amp": lambda s: s.amp,
    "model": lambda s: s.model,
    "data": lambda s: s.data,
    "imgsz": lambda s: s.imgsz,
    "epochs": lambda s: s.epochs,
    "optimizer": lambda s: s.optimizer,
    "lr0": lambda s: s.train_args.get("lr0"),
    "seed": lambda s: s.seed,
}
METRICS: dict[str, Callable[[TrialResult], float | None]] = {
    "map50": lambda r: r.map50,
    "map50_95": lambda r: r.map50_95,
    "peak_gib": lambda r: r.memory.peak_gib if r.memory else None,
    "wall_time_s": lambda r: r.wall_time_s,
    "train_time_s": lambda r: r.train_time_s,
    "images_per_s": lambda r: r.images_per_s,
    "optimizer_steps": lambda r: r.optimizer_steps,
    "iterations": lambda r: r.iterations,
    "best_epoch": lambda r: r.best_epoch,
    "peak_rss_gib": lambda r: r.peak_rss_gib,
}
EPOCH_METRICS: dict[str, Callable[[EpochReport], float]] = {
    "epoch_map50": lambda e: e.map50,
    "epoch_map50_95": lambda e: e.map50_95,
    "epoch_train_loss": lambda e: e.train_loss,
    "epoch_val_loss": lambda e: e.val_loss,
    "epoch_learning_rate": lambda e: e.learning_rate,
    "epoch_train_time_s": lambda e: e.train_time_s,
}
TRIAL_TAGS: dict[str, Callable[[TrialResult], str]] = {
    "outcome": lambda r: r.outcome.value,
    "reason": lambda r: r.reason,
    "vram_source": lambda r: r.memory.source if r.memory else "none",
    "amp_dtype": lambda r: r.amp_dtype or "",
    "implied_by": lambda r: "" if r.implied_by is None else str(r.implied_by),
}
ARTIFACTS = ("spec.json", "result.json", "log.txt", "args.yaml", "results.csv", "train_batch0.jpg")

RUNNING = "running"

_STATUS = {
    Outcome.COMPLETE: RunStatus.FINISHED,
    Outcome.PRUNED: RunStatus.FINISHED,
    Outcome.INTERRUPTED: RunStatus.KILLED,
}


# What a server or database that cannot take records raises.
FAULTS = (MlflowException, OSError)

# A study waits for MLflow no longer than this; what could not be sent is sent later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

# MLflow and Alembic report each step of creating a database; the terminal belongs to the study.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Tracker:
    """Writes one study to an MLflow server or database."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        """Connect; a new experiment in a local database keeps its files in ``artifacts``."""
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        if found is not None:
            self.experiment_id: str = found.experiment_id
        else:
            location = None if uri.startswith("http") else artifacts.resolve().as_uri()
            self.experiment_id = self._client.create_experiment(experiment, location)
        self._parent_id = ""

    def start_study(self, study: str, params: dict[str, Any], note: str) -> None:
        """Open the study's parent run, new or found by its name."""
        parent = find_study(self._client, self.experiment_id, study)
        if parent is None:
            tags = {"study": study, "kind": "study", MLFLOW_RUN_NAME: study}
            parent = self._client.create_run(self.experiment_id, tags=tags)
            for key, value in params.items():
                self._client.log_param(parent.info.run_id, key, value)
        self._parent_id = parent.info.run_id
        self._client.set_tag(self._parent_id, MLFLOW_RUN_NOTE, note)
        self._client.update_run(self._parent_id, status="RUNNING")

    def start_trial(self, spec: TrialSpec) -> str:
        """Open the trial's run and return its id."""
        tags = {
            MLFLOW_PARENT_RUN_ID: self._parent_id,
            MLFLOW_RUN_NAME: spec.label,
            "kind": "trial",
            "study": spec.study,
            "trial": str(spec.number),
            "outcome": RUNNING,
            "yolo_command": yolo_command(spec),
            "confirms": "" if spec.confirms is None else str(spec.confirms),
        }
        run = self._client.create_run(self.experiment_id, tags=tags)
        params = [Param(k, str(get(spec))) for k, get in PARAMS.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def kill_unknown_runs(self, known: set[str]) -> None:
        """End as killed the study's open trial runs whose ids are not ``known``."""
        parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent_id}'"
        query = f"{parent} and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self.experiment_id], query):
            if run.info.run_id not in known:
                self._client.set_tag(run.info.run_id, "outcome", Outcome.INTERRUPTED.value)
                self._client.set_terminated(run.info.run_id, "KILLED")

    def log_epoch(self, run_id: str, report: EpochReport) -> None:
        """Add one point to the epoch curves; logging a point twice leaves one."""
        self._client.log_batch(run_id, metrics=_epoch_points(report))

    def finish_trial(self, run_id: str, result: TrialResult, folder: Path) -> None:
        """Write everything that came back and end the run."""
        # The record's own time: logging a result twice leaves one point.
        record = folder / "result.json"
        now = int((record.stat().st_mtime if record.exists() else time.time()) * 1000)
        values = {k: get(result) for k, get in METRICS.items()}
        metrics = [Metric(k, float(v), now, 0) for k, v in values.items() if v is not None]
        for report in result.epochs:
            metrics += _epoch_points(report)
        tags = [RunTag(k, get(result)) for k, get in TRIAL_TAGS.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        for name in ARTIFACTS:
            if (folder / name).exists():
                self._client.log_artifact(run_id, str(folder / name))
        status = _STATUS.get(result.outcome, RunStatus.FAILED)
        self._client.set_terminated(run_id, RunStatus.to_string(status))

    def finish_study(self, metrics: dict[str, float], tags: dict[str, str], done: bool) -> None:
        """Write the answer to the parent run and end it."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._parent_id,
            metrics=[Metric(k, v, now, 0) for k, v in metrics.items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )
        self._client.set_terminated(self._parent_id, "FINISHED" if done else "KILLED")


def find_study(client: MlflowClient, experiment_id: str, study: str | None) -> Run | None:
    """The parent run of a study, or of the latest one."""
    named = f" and tags.study = '{study}'" if study else ""
    runs = client.search_runs([experiment_id], f"tags.kind = 'study'{named}", max_results=1)
    return runs[0] if runs else None


def _epoch_points(report: EpochReport) -> list[Metric]:
    millis = int(report.time * 1000)
    points = {k: get(report) for k, get in EPOCH_METRICS.items()}
    return [Metric(k, v, millis, report.epoch) for k, v in points.items()]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as MLflow holds it: the names of `PARAMS`, `METRICS` and `TRIAL_TAGS`."""

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
    def label(self) -> str:
        """The cell as people say it."""
        return self.tags[MLFLOW_RUN_NAME]


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study as MLflow holds it; trials in order of their numbers."""

    run_id: str
    name: str
    params: dict[str, str]
    trials: tuple[TrialRecord, ...]


def read_study(uri: str, experiment: str, name: str | None) -> StudyRecord:
    """Read a study, or the latest one, from an MLflow server or database.

    Raises:
        StudyError: There is no such study.
    """
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    parent = find_study(client, found.experiment_id, name) if found else None
    if found is None or parent is None:
        wanted = f"study.name={name}" if name else "any study"
        raise StudyError(
            f"{wanted} is not in {uri}. Run one first: python -m sweeper -m experiment=demo"
        )
    study = parent.data.tags["study"]
    runs: list[Run] = []
    token = None
    while token != "":
        page = client.search_runs(
            [found.experiment_id],
            f"tags.study = '{study}' and tags.kind = 'trial'",
            max_results=1000,
            page_token=token,
        )
        runs += page
        token = page.token or ""
    trials = sorted((_trial_record(r) for r in runs), key=lambda t: t.number)
    return StudyRecord(parent.info.run_id, study, dict(parent.data.params), tuple(trials))


def _trial_record(run: Run) -> TrialRecord:
    tags = dict(run.data.tags)
    return TrialRecord(
        run.info.run_id, int(tags["trial"]), dict(run.data.params), dict(run.data.metrics), tags
    )
