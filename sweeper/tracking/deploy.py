"""Writes a deployment to the MLflow run of the trial that it came from."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from sweeper.tracking.faults import readable_faults
from sweeper.tracking.reader import DEPLOYMENT_SOURCE

FOLDER = "deploy"


def log_deployment(
    uri: str,
    run_id: str,
    metrics: dict[str, float],
    source: str,
    files: Sequence[Path],
    onnx: Path | None,
    shape: tuple[int, ...],
) -> str:
    """Log metrics, files and the ONNX model in MLflow's own flavor.

    ``source`` says what the metrics are: ``measured``, or ``emulated``.

    Returns:
        The URI to serve the ONNX model from; empty without one.

    Raises:
        StudyError: MLflow does not answer, or refuses.
    """
    with readable_faults(uri):
        return _log(MlflowClient(tracking_uri=uri), run_id, metrics, source, files, onnx, shape)


def _log(
    client: MlflowClient,
    run_id: str,
    metrics: dict[str, float],
    source: str,
    files: Sequence[Path],
    onnx: Path | None,
    shape: tuple[int, ...],
) -> str:
    now = int(time.time() * 1000)
    logged = [Metric(k, v, now, 0) for k, v in metrics.items()]
    client.log_batch(run_id, metrics=logged, tags=[RunTag(DEPLOYMENT_SOURCE, source)])
    for file in files:
        client.log_artifact(run_id, str(file), FOLDER)
    if onnx is None:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "onnx_model"
        _save(onnx, model, shape)
        client.log_artifacts(run_id, str(model), f"{FOLDER}/onnx_model")
    return f"runs:/{run_id}/{FOLDER}/onnx_model"


def _save(file: Path, folder: Path, shape: tuple[int, ...]) -> None:
    import mlflow.onnx
    import onnx

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), shape, "images")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1), "output0")]),
    )
    requirements = ["onnx", "onnxruntime", "numpy"]
    mlflow.onnx.save_model(
        onnx.load(str(file)), str(folder), signature=signature, pip_requirements=requirements
    )
