"""Registers the model of a study's winner in MLflow."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import StudyError
from sweeper.report.findings import Findings
from sweeper.report.load import load_record, publishing_place
from sweeper.tracking.register import register_model
from sweeper.trial.study_folder import StudyFolder


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
    try:
        found = register_model(uri, winner.run_id, model, weights, winner.result.settings)
    except StudyError as error:
        return f"study.register={model}: {error}"
    return f"registered: {found}, {winner.spec.label} of trial {winner.number}"
