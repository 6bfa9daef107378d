"""Which weights are deployed: a file, or those of the winner of a study, where they were kept."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import DataError, DeployError, StudyError
from sweeper.report.cells import CellSummary
from sweeper.report.findings import LEAST_MAP50, Findings
from sweeper.report.load import load_record
from sweeper.study.earlier import change_of_data
from sweeper.training.dataset import check_dataset, prepare_dataset
from sweeper.trial.command import tool_command
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder

UNNAMED = "weights"


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be deployed.

    Attributes:
        study: Name of its folder under ``runs_dir``.
        text: Where it comes from, for people.
        key: What an error calls it.
        weights: The file; None when it has to be trained.
        spec: The winning trial; None for a file of the user's own.
        run_id: The winner's MLflow run.
        data_yaml: Dataset of the validation.
        imgsz: Image side, pixels.
        study_map50: mAP@0.5 that the study found for just these weights, at this size.
        changed: How the data set differs from what the winner was trained on; empty where it does
            not.
        is_articles: Whether the study is set up as the article's.
    """

    study: str
    text: str
    key: str
    weights: Path | None
    spec: TrialSpec | None
    run_id: str | None
    data_yaml: Path
    imgsz: int
    study_map50: float | None = None
    changed: str = ""
    is_articles: bool = False


def find_source(settings: Settings) -> Source:
    """The weights named by ``deploy.weights``, else the winner of ``study.name``.

    Raises:
        SweeperError: There is no such file or study, or nothing to deploy in it.
    """
    if settings.deploy.weights is not None:
        return _file(settings, Path(settings.deploy.weights).expanduser())
    return _winner(settings)


def _file(settings: Settings, path: Path) -> Source:
    key = f"deploy.weights={settings.deploy.weights}"
    require_weights(path, key)
    data = prepare_dataset(settings.data, Path(settings.runs_dir))
    imgsz = settings.deploy.imgsz or settings.train.imgsz
    name = settings.study.name or UNNAMED
    return Source(name, f"`{path.name}`", key, path, None, None, data.yaml, imgsz)


def require_weights(path: Path, key: str) -> None:
    """Refuse what torch could not read as weights.

    Raises:
        DeployError: No such file, another suffix, or damaged.
    """
    if not path.is_file():
        raise DeployError(f"{key} does not exist. Give the path of a .pt file that YOLO saved.")
    if path.suffix != ".pt":
        raise DeployError(
            f"{key} is not a .pt file. Exports are made from weights that YOLO saved."
        )
    if not zipfile.is_zipfile(path):
        raise DeployError(
            f"{key} is damaged, or not a file of PyTorch weights. Copy or train it again."
        )


def require_readable(source: Source, fault: str) -> None:
    """Refuse weights that a child could not read.

    Raises:
        DeployError: There is a fault.
    """
    if fault:
        raise DeployError(
            f"{source.key} was refused: {fault}. Take a .pt that Ultralytics saved, from a place "
            "you trust; if yours has layers of its own, set ULTRALYTICS_SAFE_LOAD=false."
        )


def require_detections(source: Source, map50: float, images: str, least: float) -> None:
    """Refuse weights that detect nothing, unless that is wanted.

    Raises:
        DeployError: mAP@0.5 lies below ``least``, deploy.min_map.
    """
    if map50 >= least:
        return
    found = (
        f"{source.key} has mAP@0.5 {map50:.4f} on {images} of {source.data_yaml}, less than "
        f"deploy.min_map={least:g}"
    )
    if source.changed:
        raise DeployError(
            f"{source.changed}. On what it is now, {found}. Bring the data set back, train on the "
            "new one under another study.name, or set deploy.min_map=0 to deploy it all the same."
        )
    named = "" if source.spec else "name the data set it was trained on (data=…), "
    raise DeployError(
        f"{found}. Train it longer, {named}or set deploy.min_map=0 to deploy it all the same."
    )


def _winner(settings: Settings) -> Source:
    findings = Findings(load_record(settings, settings.study.name))
    name = findings.study.name
    best = findings.winner
    if best is None:
        so_far = "" if findings.ended else " so far: it has not ended"
        raise StudyError(
            f"study.name={name} has no trial that completed within its budget{so_far}, so there "
            f"is nothing to deploy. See {tool_command('sweeper.report', f'study.name={name}')}."
        )
    winner = best.first
    spec = winner.spec
    weights = StudyFolder(Path(settings.runs_dir) / name).trial(winner.number).best_weights
    if weights.is_file():
        require_weights(weights, str(weights))
    elif settings.deploy.epochs is None:
        _require_training_enough(best, name, settings.deploy.min_map)
    if not Path(spec.data_yaml).is_file():
        raise StudyError(f"{spec.data_yaml}, the dataset of study.name={name}, is gone.")
    kept = weights.is_file()
    changed = _changed(spec, kept)
    imgsz = settings.deploy.imgsz or spec.imgsz
    text = f"trial {winner.number} ({spec.label}) of study {name}"
    return Source(
        study=name,
        text=text,
        key=text,
        weights=weights if kept else None,
        spec=spec,
        run_id=winner.run_id,
        data_yaml=Path(spec.data_yaml),
        imgsz=imgsz,
        study_map50=winner.map50 if kept and imgsz == spec.imgsz else None,
        changed=changed,
        is_articles=findings.study.is_articles,
    )


def _changed(spec: TrialSpec, kept: bool) -> str:
    """How the data set differs from what was trained on; empty where it does not.

    Faults of it are told too where weights were kept: a validation needs no training images.

    Raises:
        DataError: It has faults, and the winner has to be trained on it again.
    """
    if spec.dataset is None:
        return ""
    try:
        facts = check_dataset(Path(spec.data_yaml)).facts
    except DataError as error:
        if not kept:
            raise
        first = " ".join(line.strip() for line in str(error).splitlines()[:2])
        return f"the data set is not what was trained on: {first}"
    return change_of_data(spec, facts)


def _require_training_enough(winner: CellSummary, study: str, least: float) -> None:
    """Refuse to train once more what detected nothing as far as it was trained.

    Of a part of a run no more is asked than of a recommendation.
    """
    reached = winner.map50 or 0.0
    wanted = min(least, LEAST_MAP50) if winner.paused else least
    if reached >= wanted:
        return
    limit = f"deploy.min_map={least:g}" if wanted == least else f"{wanted:g}"
    epochs, longer = winner.spec.epochs, "Train it longer with deploy.epochs=N"
    ended = "ended with"
    if winner.paused:
        ended = f"was trained for {winner.trained} epochs and has"
        longer = f"Train its whole run with deploy.epochs={epochs}"
    raise StudyError(
        f"the best cell of study.name={study}, {winner.name}, {ended} mAP@0.5 {reached:.4f}, less "
        f"than {limit}, and its weights were not kept. {longer}, or set "
        "deploy.min_map=0 to deploy it all the same."
    )
