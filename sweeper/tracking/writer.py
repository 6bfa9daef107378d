"""What sweeper writes to MLflow: one parent run per study, one nested run per trial."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from sweeper.tracking import tags
from sweeper.tracking.faults import readable_faults
from sweeper.tracking.reader import (
    CURVE,
    LAST_START,
    STUDY_ID,
    find_older_study,
    find_study_by_id,
    open_study,
)
from sweeper.trial.command import whole_training
from sweeper.trial.folder import TrialFolder, one_at_a_time
from sweeper.trial.levers import LEVERS
from sweeper.trial.record import EpochReport, Outcome, TrialResult, TrialSpec
from sweeper.trial.study_record import RUNNING, StudyRecord

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
    **{name: attrgetter(name) for name in LEVERS},
    "seed": lambda s: s.seed,
    "budget_gib": lambda s: s.limit_gib,
}
METRICS: dict[str, Callable[[TrialResult], float | None]] = {
    "map50": lambda r: r.map50,
    "map50_95": lambda r: r.map50_95,
    "peak_gib": lambda r: r.memory.peak_gib if r.memory else None,
    "headroom_gib": lambda r: (
        None if r.excess_gib is None or r.outcome.infeasible else -r.excess_gib
    ),
    "trained_epochs": lambda r: r.trained or None,
    "epoch_s": lambda r: r.epoch_s,
    "wall_time_s": lambda r: r.wall_time_s,
    "train_time_s": lambda r: r.train_time_s,
    "images_per_s": lambda r: r.images_per_s,
    "optimizer_steps": lambda r: r.optimizer_steps,
    "iterations": lambda r: r.iterations,
    "best_epoch": lambda r: r.best_epoch,
    "peak_rss_gib": lambda r: r.peak_rss_gib,
    "context_gib": lambda r: r.memory.context_gib if r.memory else None,
    "alloc_retries": lambda r: r.memory.alloc_retries if r.memory else None,
}
PART_METRIC = "part_{}_gib"  # one per part of MemoryReading.parts that is not 0
EPOCH_METRICS: dict[str, Callable[[EpochReport], float]] = {
    CURVE.format("map50"): lambda e: e.map50,
    CURVE.format("map50_95"): lambda e: e.map50_95,
    CURVE.format("train_loss"): lambda e: e.train_loss,
    CURVE.format("val_loss"): lambda e: e.val_loss,
    CURVE.format("learning_rate"): lambda e: e.learning_rate,
    CURVE.format("train_time_s"): lambda e: e.train_time_s,
}
VERSIONS = ("ultralytics", "torch", "python")  # of what the child really ran
# An empty one is not written: 10,000 trials are read in seconds only if they are lean.
TRIAL_TAGS: dict[str, Callable[[TrialResult], str]] = {
    "outcome": lambda r: r.outcome.value,
    "reason": lambda r: r.reason,
    "vram_source": lambda r: r.memory.source if r.memory else "none",
    "memory_method": lambda r: r.memory.method if r.memory else "",
    "memory_note": lambda r: r.memory.note if r.memory else "",
    "alloc_conf": lambda r: r.memory.alloc_conf if r.memory else "",
    "amp_dtype": lambda r: r.amp_dtype or "",
    "implied_by": lambda r: "" if r.implied_by is None else str(r.implied_by),
    "versions": lambda r: " ".join(f"{k} {r.settings[k]}" for k in VERSIONS if k in r.settings),
}
SPEC_TAGS: dict[str, Callable[[TrialSpec], str]] = {
    "study": lambda s: s.study,
    "trial": lambda s: str(s.number),
    "overrides": lambda s: shlex.join(s.overrides),
    "yolo_command": whole_training,
    "confirms": lambda s: "" if s.confirms is None else str(s.confirms),
}
# Of a study's parent run: what was asked, and how and where it ran. None is not written.
STUDY_PARAMS: dict[str, Callable[[StudyRecord], str | None]] = {
    "space": lambda s: s.space,
    "fixed": lambda s: s.fixed,
    "budget_gib": lambda s: f"{s.limit_gib:g}",
    "budget_source": lambda s: s.budget_source,
}
STUDY_TAGS: dict[str, Callable[[StudyRecord], str | None]] = {
    "command": lambda s: s.command,
    "n_trials": lambda s: None if s.n_trials is None else str(s.n_trials),
    "machine": lambda s: s.machine,
    "versions": lambda s: s.versions,
    "git_commit": lambda s: s.git_commit,
}

_STATUS = {
    Outcome.COMPLETE: RunStatus.FINISHED,
    Outcome.PRUNED: RunStatus.FINISHED,
    Outcome.INTERRUPTED: RunStatus.KILLED,
}


# What could not be sent is sent later. MLflow's own second attempt would make a run again whose
# answer was lost.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


PARENT_TRIES = 20


class Tracker:
    """Writes one study to an MLflow server or database."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        """Connect; a new experiment in a local database keeps its files in ``artifacts``."""
        _create_database(uri)
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        if found is not None:
            self.experiment_id: str = found.experiment_id
        else:
            location = None if uri.startswith("http") else artifacts.resolve().as_uri()
            self.experiment_id = self._client.create_experiment(experiment, location)
        self._parent_id = self._study_id = ""

    def start_study(
        self, study: StudyRecord, note: str, older: bool = False, leads: bool = True
    ) -> None:
        """Open the study's parent run, new or found by its id.

        A resumed study keeps the parameters that it has; its tags are those of the latest start.

        Args:
            study: What was asked.
            note: Markdown that the MLflow UI shows on top.
            older: Whether it may have runs of before studies had ids: they are found by its name
                and given the id.
            leads: Whether the run is this driver's to write; one that has joined waits for it.
        """
        self._study_id = study.id
        parent = find_study_by_id(self._client, self.experiment_id, study.id)
        if not leads:
            self._parent_id = (parent or self._await_study(study.id)).info.run_id
            return
        if parent is None and older:
            parent = self._adopt(study)
        if parent is None:
            own = {"study": study.name, STUDY_ID: study.id, "kind": "study"}
            own |= {MLFLOW_RUN_NAME: study.name}
            parent = self._client.create_run(self.experiment_id, tags=own)
            params = _known(STUDY_PARAMS, study, MAX_PARAM_VAL_LENGTH)
            logged = [Param(k, v) for k, v in params.items()]
            self._client.log_batch(parent.info.run_id, params=logged)
        self._parent_id = parent.info.run_id
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        own = {LAST_START: now, MLFLOW_RUN_NOTE: note[:MAX_TAG_VAL_LENGTH]}
        own |= _known(STUDY_TAGS, study, MAX_TAG_VAL_LENGTH) | tags.study_tag(study)
        self._client.log_batch(self._parent_id, tags=[RunTag(k, v) for k, v in own.items()])
        self._client.update_run(self._parent_id, status="RUNNING")

    def _await_study(self, study_id: str) -> Run:
        """The parent run that another driver is about to make."""
        for _ in range(PARENT_TRIES):
            time.sleep(1)
            parent = find_study_by_id(self._client, self.experiment_id, study_id)
            if parent is not None:
                return parent
        raise TimeoutError("the study's own run is not there yet")

    def _adopt(self, study: StudyRecord) -> Run | None:
        """Give the study's older runs its id, the parent's last: till then the rest is found."""
        parent, trials = find_older_study(self._client, self.experiment_id, study.name)
        for run in [*trials, *([parent] if parent else [])]:
            self._client.set_tag(run.info.run_id, STUDY_ID, study.id)
        return parent

    def start_trial(self, spec: TrialSpec) -> str:
        """Open the trial's run and return its id."""
        own = {
            MLFLOW_PARENT_RUN_ID: self._parent_id,
            MLFLOW_RUN_NAME: spec.label,
            "kind": "trial",
            STUDY_ID: self._study_id,
            "outcome": RUNNING,
            **{k: get(spec)[:MAX_TAG_VAL_LENGTH] for k, get in SPEC_TAGS.items()},
            **tags.spec_tag(spec),
        }
        return str(self._client.create_run(self.experiment_id, tags=own).info.run_id)

    def find_trial(self, spec: TrialSpec) -> str | None:
        """The id of the trial's run, made without our hearing of it; None if there is none."""
        study = f"tags.kind = 'trial' and tags.{STUDY_ID} = '{self._study_id}'"
        query = f"{study} and tags.trial = '{spec.number}'"
        runs = self._client.search_runs([self.experiment_id], query, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def log_params(self, run_id: str, spec: TrialSpec) -> None:
        """Write what the trial is told; the final write repeats it."""
        self._client.log_batch(run_id, params=_params(spec))

    def kill_unknown_runs(self, known: set[str]) -> None:
        """End as killed the study's open trial runs whose ids are not ``known``."""
        parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent_id}'"
        query = f"{parent} and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self.experiment_id], query):
            if run.info.run_id not in known:
                result = TrialResult(Outcome.INTERRUPTED, "the study ended before it had begun")
                own = {"outcome": result.outcome.value, **tags.result_tag(result)}
                logged = [RunTag(k, v) for k, v in own.items()]
                self._client.log_batch(run.info.run_id, tags=logged)
                self._client.set_terminated(run.info.run_id, "KILLED")

    def log_epoch(self, run_id: str, report: EpochReport) -> None:
        """Add one point to the epoch curves; logging a point twice leaves one."""
        self._client.log_batch(run_id, metrics=_epoch_points(report))

    def finish_trial(
        self, run_id: str, spec: TrialSpec, result: TrialResult, folder: TrialFolder
    ) -> None:
        """Write everything that came back and end the run."""
        # The record's own time: logging a result twice leaves one point.
        now = int((folder.judged_at if folder.has_result else time.time()) * 1000)
        values = {k: get(result) for k, get in METRICS.items()}
        parts = result.memory.parts if result.memory else {}
        values |= {PART_METRIC.format(k): v for k, v in parts.items() if v}
        metrics = [Metric(k, float(v), now, 0) for k, v in values.items() if v is not None]
        for report in result.epochs:
            metrics += _epoch_points(report)
        texts = {k: get(result)[:MAX_TAG_VAL_LENGTH] for k, get in TRIAL_TAGS.items()}
        own = {k: text for k, text in texts.items() if text} | tags.result_tag(result)
        logged = [RunTag(k, text) for k, text in own.items()]
        self._client.log_batch(run_id, metrics, _params(spec), logged)
        for file in folder.artifacts:
            self._client.log_artifact(run_id, str(file))
        status = _STATUS.get(result.outcome, RunStatus.FAILED)
        self._client.set_terminated(run_id, RunStatus.to_string(status))

    def finish_study(self, done: bool) -> None:
        """End the parent run; `publish_report` writes the answer to it."""
        self._client.set_terminated(self._parent_id, "FINISHED" if done else "KILLED")


def publish_report(
    uri: str,
    experiment: str,
    study: StudyRecord,
    metrics: dict[str, float],
    answer: dict[str, str],
    note: str,
    files: Iterable[tuple[Path, str | None]],
) -> None:
    """Write a study's answer, its note and the files of its report to its parent run.

    Args:
        uri: MLflow server or database.
        experiment: The study's.
        study: Its record.
        metrics: Of the best trial and of the study.
        answer: Tags that say which trial is the best.
        note: Markdown that the MLflow UI shows on top.
        files: Each with its folder among the artifacts; None is the top.

    Raises:
        StudyError: MLflow does not answer, or does not know the study.
    """
    with readable_faults(uri):
        client, parent = open_study(uri, experiment, study.name, study.id)
        run_id = parent.info.run_id
        now = int(time.time() * 1000)
        own = {**answer, MLFLOW_RUN_NOTE: note}
        client.log_batch(
            run_id,
            metrics=[Metric(k, v, now, 0) for k, v in metrics.items()],
            tags=[RunTag(k, v[:MAX_TAG_VAL_LENGTH]) for k, v in own.items()],
        )
        for path, folder in files:
            client.log_artifact(run_id, str(path), folder)


def _known(
    names: dict[str, Callable[[StudyRecord], str | None]], study: StudyRecord, longest: int
) -> dict[str, str]:
    """What the study has of the names, each cut to the length that MLflow takes."""
    values = {name: get(study) for name, get in names.items()}
    return {name: value[:longest] for name, value in values.items() if value is not None}


def _create_database(uri: str) -> None:
    """Create a missing SQLite database whole: MLflow cannot use one with half of its tables."""
    scheme, _, name = uri.partition("sqlite:///")
    path = Path(name)
    if scheme or not name or path.exists():
        return
    with one_at_a_time(path.parent):
        if path.exists():
            return
        draft = path.with_suffix(".part")
        draft.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments()
        os.replace(draft, path)


def _params(spec: TrialSpec) -> list[Param]:
    return [Param(k, str(get(spec))) for k, get in PARAMS.items()]


def _epoch_points(report: EpochReport) -> list[Metric]:
    millis = int(report.time * 1000)
    points = {k: get(report) for k, get in EPOCH_METRICS.items()}
    return [Metric(k, v, millis, report.epoch) for k, v in points.items()]
