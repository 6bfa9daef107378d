"""Logs the weights of a trial as a model of its MLflow run, and registers it."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.exceptions import MlflowException

from sweeper.tracking.faults import readable_faults

# That a box is a name and numbers is nothing to warn of when a study ends.
logging.getLogger("mlflow.types.type_hints").setLevel(logging.ERROR)

WEIGHTS = "weights"  # tag of a version: what tells its weights from others
CODE = Path(__file__).with_name("served.py")


def register_model(
    uri: str,
    run_id: str,
    name: str,
    weights: Path,
    settings: Mapping[str, Any],
    description: str,
    tags: Mapping[str, str],
) -> str:
    """Register the weights of a run, unless they are registered already.

    Args:
        uri: MLflow server or database.
        run_id: The trial's.
        name: Of the registered model, made if it is not there.
        weights: The file that Ultralytics saved.
        settings: Effective settings and versions of the training.
        description: What a new version is, for people.
        tags: The same, to be searched.

    Returns:
        The URI to load the model from: ``models:/NAME/VERSION``.

    Raises:
        StudyError: MLflow does not answer, or refuses.
    """
    with readable_faults(uri):
        client = MlflowClient(tracking_uri=uri)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        found = next((v for v in known if v.tags.get(WEIGHTS) == digest), None)
        if found is None:
            model = _log(client, run_id, name, weights, settings)
            with suppress(MlflowException):  # it exists; else the next call fails and says why
                client.create_registered_model(name)
            found = client.create_model_version(
                *(name, model.artifact_location, run_id, {**tags, WEIGHTS: digest}),
                description=description,
                model_id=model.model_id,
            )
        return f"models:/{name}/{found.version}"


def _log(
    client: MlflowClient, run_id: str, name: str, weights: Path, settings: Mapping[str, Any]
) -> LoggedModel:
    """Log the model to its run."""
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id, name, run_id, params=run.data.params, model_type="detection"
    )
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model"
        _save(draft, run_id, model.model_id, weights, settings)
        client.log_model_artifacts(model.model_id, str(draft))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def _save(
    folder: Path, run_id: str, model_id: str, weights: Path, settings: Mapping[str, Any]
) -> None:
    # A build's own mark, as in torch 2.14.1+cu130, is on no package index.
    known = [p for p in ("ultralytics", "torch") if p in settings]
    versions = {p: str(settings[p]).partition("+")[0] for p in known}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the types of MLflow's own classes
        import mlflow.pyfunc
        from mlflow.models import Model

        mlflow.pyfunc.save_model(
            str(folder),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            python_model=str(CODE),
            artifacts={WEIGHTS: str(weights)},
            pip_requirements=[f"{p}=={version}" for p, version in versions.items()],
        )
