"""The deployment from top to bottom: find, export, measure, write, record."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.deploy.document import render
from sweeper.deploy.folder import draft_of, tidy
from sweeper.deploy.formats import FORMATS, PT, Format, elsewhere, obstacle
from sweeper.deploy.measure import Reference, measure, open_reference, size_mib
from sweeper.deploy.process import Child, ChildFault
from sweeper.deploy.progress import Progress, Say
from sweeper.deploy.recording import record
from sweeper.deploy.retrain import train_again
from sweeper.deploy.rows import Deployment, Row, Status, find, to_json
from sweeper.deploy.scene import Scene, conditions, open_scene
from sweeper.deploy.source import (
    Source,
    find_source,
    require_detections,
    require_readable,
)
from sweeper.errors import DeployError
from sweeper.memory.measure.nvml import source_of
from sweeper.numbers import count, duration
from sweeper.report.deployment import in_the_study
from sweeper.trial.readings import EMULATED
from sweeper.trial.study_folder import StudyFolder


def deploy(settings: Settings, say: Say) -> tuple[Deployment, Path]:
    """Export the winner, measure every export, and write the records.

    Raises:
        SweeperError: Nothing could be exported; then nothing has changed on the disk.
    """
    source = find_source(settings)
    target = StudyFolder(Path(settings.runs_dir) / source.study).deployment
    if source.changed:
        say(f"caution: {source.changed}")
    if before := [name for name in FORMATS if (target / name).is_dir()]:
        say(f"{target} has an earlier deployment, which this one replaces: {', '.join(before)}")
    try:
        with draft_of(target) as draft:
            deployment = _fill(settings, source, target, draft, say)
    except OSError as error:
        raise DeployError(
            f"{target} cannot be written: {error.strerror or error}. "
            "Free space there or choose runs_dir=PATH."
        ) from error
    if source.run_id is not None:
        record(settings, source.run_id, deployment, target, say)
    return deployment, target


def _fill(settings: Settings, source: Source, target: Path, draft: Path, say: Say) -> Deployment:
    """Everything that ends up in the folder ``target``."""
    scene = open_scene(settings, source, draft)
    wanted = [FORMATS[name] for name in settings.deploy.formats]
    planned = [_planned(scene, each, say) for each in wanted]
    _require(any(r.status is Status.OK for r in planned), planned)
    if source.weights is None:
        source = train_again(source, settings.deploy.epochs, draft / "train", say)
    weights = _take(scene, source)
    with scene.bench(PT, weights) as child:
        reference = _open(scene, source, weights, child, say)
        progress = Progress(sum(r.status is Status.OK for r in planned), say)
        rows = [
            _add(scene, each, row, reference, progress) if row.status is Status.OK else row
            for each, row in zip(wanted, planned, strict=True)
        ]
        _require(any(r.path for r in rows), rows)
        rows.insert(0, reference.finished())
    deployment = Deployment(
        source.study,
        source.text,
        conditions(scene, reference.versions),
        tuple(rows),
        tuple(_commands(scene, rows)),
        source.spec.number if source.spec else None,
        source_of(scene.device) == EMULATED,
        source.study_map50,
        str(target),
    )
    tidy(draft)
    (draft / "deploy.json").write_text(to_json(deployment))
    with_article = settings.report.article or source.is_articles
    (draft / "deploy.md").write_text(render(deployment, with_article))
    return deployment


def _planned(scene: Scene, wanted: Format, say: Say) -> Row:
    """The row of a format before anything is exported: skipped where this machine cannot."""
    row = Row(wanted.name, wanted.precision)
    reason = obstacle(wanted, scene.device != "cpu")
    if not reason:
        return row
    say(f"{wanted.name}: skipped, {reason}")
    return replace(row, status=Status.SKIPPED, reason=reason)


def _require(some: bool, rows: list[Row]) -> None:
    if not some:
        reasons = "\n  ".join(f"{r.name}: {r.reason}" for r in rows)
        raise DeployError(f"deploy.formats gave no export:\n  {reasons}")


def _take(scene: Scene, source: Source) -> Path:
    """A copy of the weights, once it is known that reading it runs nothing else."""
    assert source.weights is not None
    weights = Path(shutil.copyfile(source.weights, scene.folder / "model.pt"))
    job = scene.job("read", weights=str(weights))
    try:
        with Child("sweeper.deploy.read", job, scene.deploy.timeout_s) as child:
            require_readable(source, child.answer()["fault"])
    except ChildFault as error:
        raise DeployError(f"{source.key} cannot be read: {error}") from error
    return weights


def _open(scene: Scene, source: Source, weights: Path, child: Child, say: Say) -> Reference:
    """The .pt with its numbers, unless it detects nothing."""
    images = count(len(scene.images), "validation image")
    say(f"pt: measured first, its mAP@0.5 on {images}")
    started = time.monotonic()
    try:
        reference = open_reference(scene, weights, child)
    except ChildFault as error:
        raise DeployError(f"{source.key} cannot be run: {error}") from error
    map50 = reference.row.map50 or 0.0
    require_detections(source, map50, images, scene.deploy.min_map)
    took = duration(time.monotonic() - started)
    say(f"pt: mAP@0.5 {map50:.4f} on squares{in_the_study(source.study_map50)}, after {took}")
    return reference


def _add(scene: Scene, wanted: Format, row: Row, reference: Reference, progress: Progress) -> Row:
    """Export a format and measure it; its row says how that went."""
    row = _export(scene, wanted, row)
    if row.status is Status.OK:
        progress.step(f"{row.name}: exported in {duration(row.export_s)}")
        row = measure(scene, row, wanted, reference)
    speed = f", {row.speeds[0].ratio:.2f} × the .pt" if row.speeds else ""
    progress.done(f"{row.name}: {row.reason or source_of(scene.device) + speed}")
    return row


def _export(scene: Scene, wanted: Format, row: Row) -> Row:
    """Make one export in a child."""
    folder = scene.folder / wanted.name
    folder.mkdir()
    dynamic = scene.deploy.dynamic and wanted.dynamic
    job = scene.job(
        f"{wanted.name}-export",
        weights=str(scene.folder / "model.pt"),
        folder=str(folder),
        argument=wanted.argument,
        precision=wanted.precision,
        dynamic=dynamic,
        opset=scene.deploy.opset,
        batch=scene.deploy.batch,
    )
    try:
        with Child("sweeper.deploy.export", job, scene.deploy.timeout_s) as child:
            answer = child.answer()
    except ChildFault as error:
        return replace(row, status=Status.FAILED, reason=f"export: {error}")
    made = Path(answer["path"])
    path = str(made.relative_to(scene.folder))
    return replace(row, path=path, export_s=answer["seconds"], size_mib=size_mib(made))


def _commands(scene: Scene, rows: list[Row]) -> list[str]:
    engine = next((r for r in rows if r.name == "tensorrt"), None)
    if engine is None or engine.status is not Status.SKIPPED:
        return []
    onnx = find(rows, "onnx") is not None
    return elsewhere(scene.imgsz, scene.deploy.batch, scene.deploy.dynamic, onnx)
