"""Registers the model of a study's winner in MLflow."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import DataError, StudyError
from sweeper.numbers import count, score
from sweeper.report.findings import Findings
from sweeper.report.load import load_record, publishing_place
from sweeper.tracking.register import register_model
from sweeper.training.data_yaml import read_class_names
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import RecordedTrial


def register_winner(settings: Settings, name: str) -> str:
    """Register the weights of the recommended cell's trial; what came of it, in one sentence.

    Args:
        settings: ``study.register`` is the name of the model.
        name: The study's.
    """
    model = settings.study.register
    assert model is not None
    findings = Findings(load_record(settings, name))
    if findings.recommended is None:
        return f"study.register={model}: there is nothing to register, no cell is recommended"
    winner = findings.recommended.first
    weights = StudyFolder(Path(settings.runs_dir) / name).trial(winner.number).best_weights
    if not weights.is_file():
        return f"study.register={model}: {weights} is not there, so nothing was registered"
    if winner.run_id is None or winner.result is None:
        return f"study.register={model}: MLflow lacks the winner's run; give the command again"
    uri, _ = publishing_place(settings, findings.study)
    own = winner.result.settings
    try:
        found = register_model(uri, winner.run_id, model, weights, own, *_about(winner))
    except (StudyError, DataError) as error:
        return f"study.register={model}: {error}"
    return f"registered: {found}, {winner.spec.label} of trial {winner.number}"


def _about(winner: RecordedTrial) -> tuple[str, dict[str, str]]:
    """Description and tags of the version."""
    spec, file = winner.spec, Path(winner.spec.data_yaml)
    names = read_class_names(str(file)) if file.is_file() else ()
    data = f"{spec.data} ({spec.dataset.digest})" if spec.dataset else spec.data
    tags = {
        "study": spec.study,
        "trial": str(spec.number),
        "cell": spec.label,
        "map50": score(winner.map50),
        "data": data,
        "classes": ", ".join(names) or str(spec.nc),
    }
    description = (
        f"{spec.model} at {spec.imgsz} px, {spec.label}, trial {spec.number} of study "
        f"{spec.study}: mAP@0.5 {score(winner.map50)} on {data}, "
        f"{count(spec.nc, 'class', 'classes')}"
    )
    return description, tags
