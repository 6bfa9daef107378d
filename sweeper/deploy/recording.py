"""Writes a deployment to the winner's MLflow run, and the study's report anew."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.deploy.progress import Say
from sweeper.deploy.rows import Deployment, find, metrics
from sweeper.errors import DeployError, StudyError
from sweeper.report.publish import publish
from sweeper.trial.readings import EMULATED, MEASURED


def record(
    settings: Settings, run_id: str, deployment: Deployment, target: Path, say: Say
) -> None:
    """Write the deployment to the winner's MLflow run, and the report anew.

    Raises:
        DeployError: MLflow does not take it; the files stay.
    """
    from sweeper.tracking.deploy import log_deployment  # slow to import, needed only at the end

    onnx = find(deployment.rows, "onnx")
    model = target / onnx.path if onnx else None
    shape = (-1, 3, deployment.conditions["imgsz"], deployment.conditions["imgsz"])
    uri = settings.tracking_uri
    try:
        served = log_deployment(
            uri,
            run_id,
            metrics(deployment),
            EMULATED if deployment.emulated else MEASURED,
            [target / "deploy.md", target / "deploy.json"],
            model,
            shape if deployment.conditions["dynamic"] else (1, *shape[1:]),
        )
        report = publish(settings, deployment.study)
    except StudyError as error:
        raise DeployError(f"{target} is complete, but {error}") from error
    say(f"MLflow run {run_id} has the table and its numbers; the report has them, too")
    if report.warning:
        say(f"warning: {report.warning}")
    if served:
        serve = f"mlflow models serve -m {served} --env-manager local"
        say(f"serve the ONNX model: MLFLOW_TRACKING_URI={uri} {serve}")
