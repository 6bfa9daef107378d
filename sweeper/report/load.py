"""Finds a study and reads it: from its folder where that is at hand, else from MLflow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import StudyError
from sweeper.tracking import OlderStudyError, read_curve, read_study
from sweeper.trial.spec import SINGLE
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import (
    CurveReader,
    Points,
    RecordedStudy,
    RecordedTrial,
    StudyRecord,
    recorded_curve,
)


def load_record(settings: Settings, name: str | None) -> RecordedStudy:
    """Read a study, or the one that was started last.

    A study with a name is read from its folder under ``runs_dir``, unless ``tracking.uri`` was
    given and names another place than the study was recorded to. The latest one is looked for
    among the folders that were recorded to the settings' place. What no folder holds is read
    from MLflow.

    Raises:
        StudyError: There is no such study, it cannot be read, or MLflow does not answer.
    """
    found = _named(settings, name) if name else _latest(settings)
    if found is not None:
        return _read_folder(settings, *found)
    try:
        return read_study(settings.tracking_uri, settings.tracking.experiment, name)
    except OlderStudyError as error:
        folder = StudyFolder(Path(settings.runs_dir) / error.study.name)
        if not folder.has_trials:
            raise
        return _read_folder(settings, folder, error.study)
    except StudyError as error:
        meant = StudyFolder.meant(Path(settings.runs_dir), name) if name else ""
        raise StudyError(f"{error}{meant}") from error


def publishing_place(settings: Settings, study: StudyRecord) -> tuple[str, str]:
    """MLflow's URI and experiment to publish the study's report to.

    That is where it was recorded, unless ``tracking.uri`` says otherwise; a local database moves
    with its ``runs_dir``.
    """
    local = study.tracking_uri.startswith("sqlite:")
    if settings.tracking.uri is not None or local or not study.tracking_uri:
        return settings.tracking_uri, study.experiment or settings.tracking.experiment
    return study.tracking_uri, study.experiment


def _named(settings: Settings, name: str) -> tuple[StudyFolder, StudyRecord] | None:
    folder = StudyFolder(Path(settings.runs_dir) / name)
    study = folder.read()
    elsewhere = study and settings.tracking.uri not in {None, study.tracking_uri}
    return None if study is None or elsewhere else (folder, study)


def _latest(settings: Settings) -> tuple[StudyFolder, StudyRecord] | None:
    place = settings.tracking_uri, settings.tracking.experiment
    records = ((f, f.read()) for f in StudyFolder.all_of(Path(settings.runs_dir)))
    here = [
        (folder, study)
        for folder, study in records
        if study and study.name != SINGLE and (study.tracking_uri, study.experiment) == place
    ]
    return max(here, key=lambda found: found[1].last_started, default=None)


def _read_folder(settings: Settings, folder: StudyFolder, study: StudyRecord) -> RecordedStudy:
    uri, _ = publishing_place(settings, study)
    return replace(folder.read_with_trials(study), curve=_folder_curves(uri))


def _folder_curves(uri: str) -> CurveReader:
    """Curves out of the results; MLflow has those of the trials that still run."""
    down = False

    def read(trial: RecordedTrial, field: str) -> Points:
        nonlocal down
        if trial.result is not None or down:
            return recorded_curve(trial, field)
        try:
            return read_curve(uri, trial, field)
        except StudyError:
            down = True  # one wait is enough
            return []

    return read
