"""Records as JSON: read back by their types."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sweeper.errors import StudyError
from sweeper.trial.record import ChildFacts, EpochReport, TrialResult, TrialSpec

Record = TypeVar("Record", TrialSpec, EpochReport, ChildFacts, TrialResult)

# Names that records of version 0.1 have for what is called otherwise today.
_RENAMED = {"budget_gib": "limit_gib"}


def to_json(record: TrialSpec | EpochReport | ChildFacts | TrialResult) -> str:
    """The record as one JSON document."""
    return json.dumps(asdict(record))


def from_json(kind: type[Record], text: str, source: str) -> Record:
    """The record that `to_json` wrote; fields it does not know are left out.

    Args:
        kind: What it is.
        text: The document.
        source: Where it comes from, for the message.

    Raises:
        StudyError: It is not a record of this kind.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        for old, new in _RENAMED.items():
            if old in content:
                content[new] = content.pop(old)
        return _adapter(kind).validate_python(content)
    except (ValueError, ValidationError, AttributeError) as error:
        fault = " ".join(str(error).split())[:200]
        raise StudyError(
            f"{source} cannot be read as a {kind.__name__}: {fault}. It is damaged, or another "
            "version of sweeper wrote it: use that one, or give another study.name."
        ) from error


@cache
def _adapter(kind: type[Record]) -> TypeAdapter[Record]:
    return TypeAdapter(kind)
