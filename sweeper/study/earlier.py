"""Whether what earlier starts left in a folder goes with the run that begins now."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sweeper.errors import StudyError
from sweeper.numbers import count
from sweeper.trial.spec import DatasetFacts, TrialSpec
from sweeper.trial.study_folder import StudyFolder

FOLDER_PATIENCE_S = 20.0


def refuse_study_folder(folder: StudyFolder) -> None:
    """Keep trials without a study out of a study's folder, where numbers are Optuna's.

    Raises:
        StudyError: The folder is that of a study.
    """
    earlier = folder.read()
    if earlier is not None and earlier.space is not None:
        raise StudyError(
            f"study.name={folder.path.name} is a study; a single trial goes elsewhere. "
            "Leave study.name out or give another one."
        )


def await_shared_folder(folder: StudyFolder, study_id: str) -> None:
    """Join only where the study's record is, which its driver writes when it starts.

    Raises:
        StudyError: It does not come.
    """
    give_up_at = time.monotonic() + FOLDER_PATIENCE_S
    while (record := folder.read()) is None or record.id != study_id:
        if time.monotonic() > give_up_at:
            raise StudyError(
                f"study.join=true: {folder.path} is not the folder that the study is run in. All "
                "its drivers need one runs_dir, on a file system that they share."
            )
        time.sleep(0.5)


def require_own_folder(folder: StudyFolder, study_id: str, decided: Iterable[int]) -> None:
    """Go on only where the folder is the study's, and holds every trial that counts.

    Args:
        folder: By the study's name.
        study_id: The study's.
        decided: The numbers of its trials that have ended and do not run again.

    Raises:
        StudyError: It is that of another study, or trials are missing: without their records the
            study would come to another answer.
    """
    earlier = folder.read()
    if earlier is not None and earlier.id not in {"", study_id}:
        raise StudyError(
            f"{folder.path} holds another study of this name, which study.storage does not know. "
            "Give another study.name or runs_dir."
        )
    missing = [number for number in decided if not folder.trial(number).exists]
    if missing:
        shown = ", ".join(map(str, missing[:5])) + ", …" * (len(missing) > 5)
        raise StudyError(
            f"{folder.trials} lacks {count(len(missing), 'trial')} that the stored study has "
            f"({shown}): it was run elsewhere. Give the runs_dir that it was run with, copy "
            f"{folder.path.name}/ from there, or give another study.name."
        )


def require_same_data(
    folder: StudyFolder, decided: Iterable[int], specs: Iterable[TrialSpec]
) -> str:
    """Go on only with the data set that the earlier trials had.

    Args:
        folder: Of the study.
        decided: The numbers of its trials that have ended and do not run again.
        specs: What is to be trained now.

    Returns:
        A caution where it is not quite the same; empty where it is.

    Raises:
        StudyError: Images or boxes have been added or taken away.
    """
    now, caution = {spec.data: spec.dataset for spec in specs}, ""
    for spec in (folder.trial(number).read_spec() for number in decided):
        facts = now.get(spec.data)
        change = change_of_data(spec, facts)
        if change and facts and spec.dataset and spec.dataset.size != facts.size:
            raise StudyError(
                f"{change}. Its cells cannot be compared across that: bring the data set back, or "
                "give another study.name."
            )
        caution = f"caution: {change}" if change else caution
    return caution


def change_of_data(spec: TrialSpec, facts: DatasetFacts | None) -> str:
    """How a data set differs from what a trial had; empty where it does not, or is not known."""
    before = spec.dataset
    if before is None or facts is None or before.digest == facts.digest:
        return ""
    if before.size != facts.size:
        return (
            f"data={spec.data} has {facts.describe()} now; when trial {spec.number} of "
            f"study.name={spec.study} ran, it had {before.describe()}"
        )
    return (
        f"data={spec.data} is not quite what earlier trials trained on: its classes, "
        "its boxes or the sizes of its files have changed"
    )
