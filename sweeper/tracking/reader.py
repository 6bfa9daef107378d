"""What sweeper reads back from MLflow: a study and its trials, in pages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from sweeper.errors import StudyError
from sweeper.tracking import tags
from sweeper.tracking.faults import readable_faults
from sweeper.trial.readings import EMULATED
from sweeper.trial.record import TrialResult
from sweeper.trial.spec import SINGLE, TrialSpec
from sweeper.trial.study_record import (
    DeploymentRecord,
    Points,
    RecordedStudy,
    RecordedTrial,
    StudyRecord,
    StudyStatus,
)

STUDY_ID = "study_id"  # tag of every run
LAST_START = "last_start"  # tag of a study's parent run: UTC, ISO 8601
CURVE = "epoch_{}"  # the metric of a field of EpochReport
DEPLOYMENT = "deploy/"  # beginning of the metrics that a deployment logged
DEPLOYMENT_SOURCE = "deploy_source"  # tag: whether they are measured or emulated
NEEDED = {"batch", "accumulate", "amp"}  # parameters that every trial has
PAGE = 1000


class OlderStudyError(StudyError):
    """The trials were recorded by version 0.1, which kept them whole in their folders only."""

    def __init__(self, study: StudyRecord) -> None:
        super().__init__(
            f"study.name={study.name} was recorded by an older version of sweeper: run the "
            f"report where its trial folders are, {study.name}/trials in runs_dir=PATH, or run "
            "the study again under another study.name."
        )
        self.study = study


def find_study(client: MlflowClient, experiment_id: str, study: str | None) -> Run | None:
    """The parent run of a study, or of the one that was started last, anew or again.

    Of studies with one name it is that of the one that was started last. The single trials, which
    share a parent run, count as a study only where they are named.
    """
    named = f"tags.study = '{study}'" if study else f"tags.study != '{SINGLE}'"
    return _parent(client, experiment_id, named)


def find_study_by_id(client: MlflowClient, experiment_id: str, study_id: str) -> Run | None:
    """The parent run of the study with this id."""
    return _parent(client, experiment_id, f"tags.{STUDY_ID} = '{study_id}'")


def find_older_study(
    client: MlflowClient, experiment_id: str, study: str
) -> tuple[Run | None, list[Run]]:
    """The parent run of a study of before studies had ids, and its trials' runs, by its name."""
    named = f"tags.study = '{study}' and tags.{STUDY_ID} IS NULL"
    parent = _parent(client, experiment_id, named)
    return parent, find_trial_runs(client, experiment_id, named) if parent else []


def find_trial_runs(client: MlflowClient, experiment_id: str, wanted: str) -> list[Run]:
    """The runs of the trials that a query finds, read in pages."""
    query = f"tags.kind = 'trial' and {wanted}"
    runs: list[Run] = []
    token = None
    while token != "":
        page = client.search_runs([experiment_id], query, max_results=PAGE, page_token=token)
        runs += page
        token = page.token or ""
    return runs


def _parent(client: MlflowClient, experiment_id: str, wanted: str) -> Run | None:
    latest = [f"tags.{LAST_START} DESC"]
    query = f"tags.kind = 'study' and {wanted}"
    runs = client.search_runs([experiment_id], query, max_results=1, order_by=latest)
    return runs[0] if runs else None


def open_study(
    uri: str, experiment: str, name: str | None, study_id: str = ""
) -> tuple[MlflowClient, Run]:
    """A client, and the parent run of a study, by its id where that is known, or of the latest.

    Raises:
        StudyError: There is no such study.
    """
    if not is_missing(uri):
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        parent = None
        if found and study_id:
            parent = find_study_by_id(client, found.experiment_id, study_id)
        elif found:
            parent = find_study(client, found.experiment_id, name)
        if parent is not None:
            return client, parent
    if name:
        raise StudyError(
            f"study.name={name} is not in {uri}. python -m sweeper.studies lists those under "
            "runs_dir; give another runs_dir or tracking.uri for others."
        )
    raise StudyError(f"no study is in {uri}. Run one first: python -m sweeper -m experiment=demo")


def read_study(uri: str, experiment: str, name: str | None) -> RecordedStudy:
    """Read a study, or the latest one, from an MLflow server or database.

    The results have neither epochs nor settings; the study's `curve` asks for its points.

    Raises:
        OlderStudyError: The trials' runs do not hold their records.
        StudyError: There is no such study, or MLflow does not answer.
    """
    with readable_faults(uri), _garbage_left():
        client, parent = open_study(uri, experiment, name)
        study = _study(parent, uri, experiment)
        runs = _trial_runs(client, parent)
        if not _has_record(parent) or any(map(_is_older, runs)):
            raise OlderStudyError(study)
        trials = [trial for run in runs if (trial := _trial(run)) is not None]
    return RecordedStudy(
        study,
        tuple(sorted(trials, key=lambda t: t.number)),
        tuple(f"MLflow run {r.info.run_id}" for r in runs if tags.SPEC not in r.data.tags),
        lambda trial, field: read_curve(uri, trial, field),
    )


def read_curve(uri: str, trial: RecordedTrial, field: str) -> Points:
    """The curve of one trial by the name of a field of `EpochReport`.

    Raises:
        StudyError: MLflow does not answer.
    """
    if trial.run_id is None or is_missing(uri):
        return []
    with readable_faults(uri):
        client = MlflowClient(tracking_uri=uri)
        history = client.get_metric_history(trial.run_id, CURVE.format(field))
    return sorted({m.step: m.value for m in history}.items())


def is_missing(uri: str) -> bool:
    """Whether it is a database file that does not exist: MLflow would create it."""
    scheme, _, file = uri.partition("sqlite:///")
    return not scheme and bool(file) and not Path(file).exists()


def _has_record(parent: Run) -> bool:
    return tags.STUDY in parent.data.tags


def _is_older(run: Run) -> bool:
    """Whether the run is that of a trial, but without its record."""
    return tags.SPEC not in run.data.tags and run.data.params.keys() >= NEEDED


def _study(parent: Run, uri: str, experiment: str) -> StudyRecord:
    """The study's record as it is now."""
    record = tags.read_tag(parent, tags.STUDY, StudyRecord) or _older_study(parent)
    status = parent.info.status
    return replace(
        record,
        tracking_uri=uri,
        experiment=experiment,
        status=StudyStatus(status) if status in set(StudyStatus) else StudyStatus.KILLED,
    )


def _older_study(parent: Run) -> StudyRecord:
    """The record of a study that version 0.1 wrote to parameters and tags."""
    params, own = parent.data.params, parent.data.tags
    if "budget_gib" not in params:
        raise StudyError(
            f"study.name={own['study']} cannot be read from MLflow: run {parent.info.run_id} has "
            "no parameter budget_gib. Run the study again under another study.name."
        )
    started = parent.info.start_time / 1000
    latest = own.get(LAST_START)
    wanted = own.get("n_trials")
    return StudyRecord(
        name=own["study"],
        limit_gib=float(params["budget_gib"]),
        budget_source=params.get("budget_source", ""),
        space=params.get("space"),
        fixed=params.get("fixed"),
        command=own.get("command"),
        n_trials=int(wanted) if wanted else None,
        machine=own.get("machine", ""),
        versions=own.get("versions", ""),
        git_commit=own.get("git_commit", ""),
        started=started,
        last_started=datetime.fromisoformat(latest).timestamp() if latest else started,
    )


def _trial(run: Run) -> RecordedTrial | None:
    """The trial; None where the run holds none."""
    spec = tags.read_tag(run, tags.SPEC, TrialSpec)
    if spec is None:
        return None
    result = tags.read_tag(run, tags.RESULT, TrialResult)
    return RecordedTrial(spec, result, run.info.run_id, _deployment(run, spec.number))


def _deployment(run: Run, number: int) -> DeploymentRecord | None:
    """What a deployment logged to the run of a trial; None where there was none."""
    metrics = {k: v for k, v in run.data.metrics.items() if k.startswith(DEPLOYMENT)}
    emulated = run.data.tags.get(DEPLOYMENT_SOURCE) == EMULATED
    return DeploymentRecord(number, metrics, emulated) if metrics else None


def _trial_runs(client: MlflowClient, parent: Run) -> list[Run]:
    """The runs of a study's trials, by its id; by its name where it is older."""
    name, study_id = parent.data.tags["study"], parent.data.tags.get(STUDY_ID)
    older = f"tags.study = '{name}' and tags.{STUDY_ID} IS NULL"
    wanted = f"tags.{STUDY_ID} = '{study_id}'" if study_id else older
    return find_trial_runs(client, parent.info.experiment_id, wanted)


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
