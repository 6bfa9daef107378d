"""Whether an MLflow server takes a record, by writing a tag and deleting it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

DEFAULT_EXPERIMENT = "0"  # every MLflow store has it
TAG = "sweeper.doctor"
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def tracking_fault(uri: str) -> str:
    """What goes wrong when a tag is written to ``uri``; empty when nothing does."""
    try:
        with _impatience():
            client = MlflowClient(tracking_uri=uri)
            client.set_experiment_tag(DEFAULT_EXPERIMENT, TAG, str(time.time()))
            client.delete_experiment_tag(DEFAULT_EXPERIMENT, TAG)
    except (MlflowException, ValueError) as error:  # ValueError: an answer that is not JSON
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return ""


@contextmanager
def _impatience() -> Iterator[None]:
    """MLflow retries for minutes by default; a check must not."""
    before = {k: os.environ.get(k) for k in IMPATIENT}
    os.environ.update(IMPATIENT)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value
