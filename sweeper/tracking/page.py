"""What a reader of MLflow finds of a study: its answer and report, and where its runs are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from sweeper.passwords import without_password
from sweeper.tracking.faults import readable_faults
from sweeper.tracking.reader import open_study
from sweeper.trial.study_record import StudyRecord

RANK = "rank"  # metric of a trial: 1 is the recommended one
DELETED = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}  # of a run: by hand, or for good
LOCAL_UI = "http://127.0.0.1:5000"  # of make ui


def publish_report(
    uri: str,
    experiment: str,
    study: StudyRecord,
    metrics: dict[str, float],
    answer: dict[str, str],
    note: str,
    files: Iterable[tuple[Path, str | None]],
    ranks: Mapping[str, int],
) -> str:
    """Write a study's answer, its note and the files of its report to its parent run.

    Args:
        uri: MLflow server or database.
        experiment: The study's.
        study: Its record.
        metrics: Of the best trial and of the study.
        answer: Tags that say which trial is the best.
        note: Markdown that the MLflow UI shows on top.
        files: Each with its folder among the artifacts; None is the top.
        ranks: The places of the trials, 1 the recommended one's, by the id of the run.

    Returns:
        The address at which MLflow's UI shows the study's runs; empty where it is not known.

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
        for trial, place in ranks.items():
            try:
                client.log_metric(trial, RANK, place, now)
            except MlflowException as error:
                if error.error_code not in DELETED:
                    raise
        return _runs_page(uri, parent.info.experiment_id, study.name, bool(ranks))


def _runs_page(uri: str, experiment_id: str, study: str, ranked: bool) -> str:
    """Where the UI lists runs, the best first: it opens with pages for GenAI applications."""
    if not uri.startswith(("http", "sqlite:")):
        return ""
    server = without_password(uri) if uri.startswith("http") else LOCAL_UI
    wanted = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.study = '{study}'",
        "orderByKey": f"metrics.`{RANK if ranked else 'map50'}`",
        "orderByAsc": str(ranked).lower(),
    }
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(wanted)}"
