"""Removes one study: its MLflow runs, its Optuna study and its folder, and nothing else."""

from __future__ import annotations

import shutil

from sweeper.config.settings import Settings
from sweeper.errors import StudyError
from sweeper.numbers import count
from sweeper.passwords import without_password
from sweeper.report.load import publishing_place
from sweeper.studies.listing import find_study
from sweeper.study.stored import StoredStudies
from sweeper.tracking import delete_runs
from sweeper.trial.folder import TrialFolder


def remove_study(settings: Settings, name: str) -> list[str]:
    """Remove a study that nobody runs; what was done, for people.

    The folder goes last: where something fails before, the same command goes on.

    Raises:
        StudyError: It is being run, it is not there, or MLflow or the storage does not answer.
    """
    folder, record = find_study(settings, name)
    if folder.path.is_symlink() or record.name != name:
        raise StudyError(
            f"{folder.path} is a link to a study, or a copy of {record.name}: its records are "
            "that one's too. Remove the folder by hand."
        )
    if jobs := [f.number for f in TrialFolder.all_of(folder.trials) if f.is_under_way]:
        raise StudyError(
            f"trial {jobs[0]} of study.name={name} may still run as a job of a scheduler. Give "
            "its command once more and end it with Ctrl-C; or cancel the job, and remove "
            f"{folder.trial(jobs[0]).path}/job."
        )
    uri, experiment = publishing_place(settings, record)
    stored = StoredStudies(settings.storage_url)
    with stored.held(record):
        runs = delete_runs(uri, experiment, name, record.id)
        known = stored.remove(record)
        shutil.rmtree(folder.path)
    url = without_password(settings.storage_url)
    optuna = f"its study in {url}" if known else f"{url} did not know it"
    return [
        f"removed {name}",
        f"  folder  {folder.path}",
        f"  Optuna  {optuna}",
        f"  MLflow  {count(runs, 'run')} in {without_password(uri)} marked as deleted; mlflow gc "
        "frees what they take",
    ]
