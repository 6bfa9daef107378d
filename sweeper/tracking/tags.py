"""The tags that mean something to MLflow's UI, and the records that it hides."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace

from mlflow.entities import Run
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from sweeper.errors import StudyError
from sweeper.trial.json_text import Record, from_json, to_json
from sweeper.trial.record import TrialResult
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import StudyRecord

# The UI hides the tags whose names begin like MLflow's own.
STUDY = "mlflow.sweeper.study"
SPEC = "mlflow.sweeper.spec"
RESULT = "mlflow.sweeper.result"
SOURCE = "python -m sweeper"
TOO_LONG = "too long"  # in place of a record; no JSON document


def origin_tags(record: StudyRecord) -> dict[str, str]:
    """Who has made a run, and by what: MLflow's own fill in with its fluent functions only."""
    own = {MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: SOURCE, MLFLOW_SOURCE_TYPE: "LOCAL"}
    return own | ({MLFLOW_GIT_COMMIT: record.git_commit} if record.git_commit else {})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def study_tag(record: StudyRecord) -> dict[str, str]:
    """The tag of a study's parent run."""
    return {STUDY: _limited(to_json(record))}


def spec_tag(spec: TrialSpec) -> dict[str, str]:
    """The tag of a trial's run from its start."""
    return {SPEC: _limited(to_json(spec))}


def result_tag(result: TrialResult) -> dict[str, str]:
    """The tag of a finished trial; its epochs are metrics, settings an artifact.

    The curve of a run of a thousand epochs does not fit and is left out: of a run to its end it
    tells the noise only. The figures of hundreds of classes give way before it.
    """
    own = replace(result, epochs=(), settings={})
    classless = replace(own, class_map50={})
    texts = (_limited(to_json(r)) for r in (own, classless, replace(classless, curve=())))
    return {RESULT: next((text for text in texts if text != TOO_LONG), TOO_LONG)}


def read_tag(run: Run, tag: str, kind: type[Record]) -> Record | None:
    """The record of a run; None where it has none.

    Raises:
        StudyError: It was too long for a tag, or cannot be read.
    """
    text = run.data.tags.get(tag)
    if text is None:
        return None
    name = f"MLflow run {run.info.run_id}"
    if text == TOO_LONG:
        raise StudyError(
            f"{name}: its record is longer than the {MAX_TAG_VAL_LENGTH} characters that a tag "
            "of MLflow takes. Run the report where the study's folder is: runs_dir=PATH."
        )
    return from_json(kind, text, name)


def _limited(text: str) -> str:
    return text if len(text) <= MAX_TAG_VAL_LENGTH else TOO_LONG
