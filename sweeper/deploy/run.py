"""The deployment from top to bottom: find, export, measure, write, record."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.config.settings import Settings
from sweeper.deploy.document import render
from sweeper.deploy.formats import FORMATS, Format, elsewhere, obstacle
from sweeper.deploy.measure import Reference, Scene, measure, open_reference, size_mib
from sweeper.deploy.process import Child, ChildFault
from sweeper.deploy.rows import Deployment, Row, Status, find, metrics, to_json
from sweeper.deploy.source import Source, find_source, train_again
from sweeper.doctor.places import existing_parent, write_fault
from sweeper.errors import DeployError, StudyError
from sweeper.executors.devices import find_devices
from sweeper.memory.measure.nvml import source_of
from sweeper.report.publish import publish
from sweeper.training.data_yaml import split_images
from sweeper.trial.record import EMULATED, MEASURED
from sweeper.trial.study_folder import StudyFolder

Say = Callable[[str], None]


def deploy(settings: Settings, say: Say) -> tuple[Deployment, Path]:
    """Export the winner, measure every export, and write the records.

    Raises:
        SweeperError: Nothing could be exported; then nothing has changed on the disk.
    """
    source = find_source(settings)
    target = StudyFolder(Path(settings.runs_dir) / source.study).deployment
    try:
        with _draft(target) as draft:
            deployment = _fill(settings, source, draft, say)
    except OSError as error:
        raise DeployError(
            f"{target} cannot be written: {error.strerror or error}. "
            "Free space there or choose runs_dir=PATH."
        ) from error
    if source.run_id is not None:
        _record(settings, source.run_id, deployment, target, say)
    return deployment, target


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A folder that becomes ``target`` when all went well, and vanishes when not."""
    fault = write_fault(existing_parent(target))
    if fault:
        raise DeployError(f"{target} cannot be written: {fault}. Free space or set runs_dir=PATH.")
    draft = target.with_name(f"{target.name}.part-{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        yield draft
        _replace(target, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not any(target.parent.iterdir()):
            target.parent.rmdir()


def _replace(target: Path, draft: Path) -> None:
    """Put the draft in place of the old deployment, which is removed last."""
    old = target.with_name(f"{target.name}.old-{os.getpid()}")
    if target.exists():
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _fill(settings: Settings, source: Source, draft: Path, say: Say) -> Deployment:
    """Everything that ends up in the folder."""
    load = os.getloadavg()[0]  # of other programs: our own training and exports come later
    if source.weights is None:
        source = train_again(source, settings.deploy.epochs, draft / "train", say)
    assert source.weights is not None
    shutil.copyfile(source.weights, draft / "model.pt")
    scene = _scene(settings, source, draft)
    exports = [_export(scene, FORMATS[name], say) for name in settings.deploy.formats]
    _require_one(exports)
    rows, versions = _measure(scene, exports, say)
    deployment = Deployment(
        source.study,
        source.text,
        _conditions(scene, versions, load),
        rows,
        tuple(_commands(scene, rows)),
        source.spec.number if source.spec else None,
        source_of(scene.device) == EMULATED,
    )
    _tidy(draft)
    (draft / "deploy.json").write_text(to_json(deployment))
    (draft / "deploy.md").write_text(render(deployment))
    return deployment


def _scene(settings: Settings, source: Source, draft: Path) -> Scene:
    devices = find_devices(1)
    images = split_images(source.data_yaml, "val")
    cores = len(os.sched_getaffinity(0))
    return Scene(
        deploy=settings.deploy,
        folder=draft.resolve(),
        device=devices.names[0],
        machine=devices.gpu.name if devices.gpu else _cpu_name(),
        threads=min(settings.deploy.threads or cores, cores),
        imgsz=source.imgsz,
        data_yaml=str(source.data_yaml.resolve()),
        images=tuple(str(p) for p in images),
    )


def _export(scene: Scene, wanted: Format, say: Say) -> Row:
    """Make one export in a child; its row says how that went."""
    row = Row(wanted.name, wanted.precision)
    reason = obstacle(wanted, scene.device != "cpu")
    if reason:
        say(f"{wanted.name}: skipped, {reason}")
        return replace(row, status=Status.SKIPPED, reason=reason)
    folder = scene.folder / wanted.name
    folder.mkdir()
    job = scene.job(
        f"{wanted.name}-export",
        weights=str(scene.folder / "model.pt"),
        folder=str(folder),
        argument=wanted.argument,
        precision=wanted.precision,
        dynamic=scene.deploy.dynamic,
        opset=scene.deploy.opset,
        batch=scene.deploy.batch,
    )
    try:
        with Child("sweeper.deploy.export", job, scene.deploy.timeout_s) as child:
            answer = child.answer()
    except ChildFault as error:
        say(f"{wanted.name}: failed, {error}")
        return replace(row, status=Status.FAILED, reason=f"export: {error}")
    made = Path(answer["path"])
    say(f"{wanted.name}: exported in {answer['seconds']:.1f} s")
    path = str(made.relative_to(scene.folder))
    return replace(row, path=path, export_s=answer["seconds"], size_mib=size_mib(made))


def _require_one(exports: list[Row]) -> None:
    if not any(r.status is Status.OK for r in exports):
        reasons = "\n  ".join(f"{r.name}: {r.reason}" for r in exports)
        raise DeployError(f"deploy.formats gave no export:\n  {reasons}")


def _measure(scene: Scene, exports: list[Row], say: Say) -> tuple[tuple[Row, ...], dict[str, str]]:
    """Measure the .pt and each export beside it."""
    weights = scene.folder / "model.pt"
    with scene.bench("pt", weights, "fp32") as child:
        try:
            reference = open_reference(scene, weights, child)
        except ChildFault as error:
            raise DeployError(f"the weights cannot be run: {error}") from error
        rows = [_measured(scene, row, reference, say) for row in exports]
        return (reference.finished(), *rows), reference.versions


def _measured(scene: Scene, row: Row, reference: Reference, say: Say) -> Row:
    if row.status is not Status.OK:
        return row
    row = measure(scene, row, reference)
    say(f"{row.name}: {row.reason or source_of(scene.device)}")
    return row


def _conditions(scene: Scene, versions: dict[str, str], load: float) -> dict[str, Any]:
    """What every number depends on."""
    return {
        "device": scene.machine,
        "gpu": scene.device != "cpu",
        "threads": scene.threads,
        "cores": len(os.sched_getaffinity(0)),
        "load": load,
        "imgsz": scene.imgsz,
        "batch": scene.deploy.batch,
        "dynamic": scene.deploy.dynamic,
        "runs": scene.deploy.runs,
        "warmup": scene.deploy.warmup,
        "images": len(scene.images),
        "versions": versions,
    }


def _cpu_name() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


def _commands(scene: Scene, rows: tuple[Row, ...]) -> list[str]:
    engine = next((r for r in rows if r.name == "tensorrt"), None)
    if engine is None or engine.status is not Status.SKIPPED:
        return []
    onnx = find(rows, "onnx") is not None
    return elsewhere(scene.imgsz, scene.deploy.batch, scene.deploy.dynamic, onnx)


def _tidy(draft: Path) -> None:
    """Keep the models and the logs, not what was only needed to compare."""
    for outputs in (draft / "logs").glob("*.npy"):
        outputs.unlink()
    shutil.rmtree(draft / "logs" / "validation", ignore_errors=True)


def _record(
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
