"""What sweeper reads back from MLflow: a study and its trials, in pages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from sweeper.errors import StudyError, first_line
from sweeper.tracking.record import StudyRecord, TrialRecord
from sweeper.trial.record import SINGLE

LAST_START = "last_start"  # tag of a study's parent run: UTC, ISO 8601
NEEDED = {"batch", "accumulate", "amp"}
PAGE = 1000


def find_study(client: MlflowClient, experiment_id: str, study: str | None) -> Run | None:
    """The parent run of a study, or of the one that was started last, anew or again.

    The single trials, which share a parent run, are no study unless they are named.
    """
    named = f" and tags.study = '{study}'" if study else f" and tags.study != '{SINGLE}'"
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
