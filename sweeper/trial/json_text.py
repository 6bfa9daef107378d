"""Records as JSON: read back by their types."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sweeper.errors import StudyError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

# Names that records of version 0.1 have for what is called otherwise today.
_RENAMED = {"budget_gib": "limit_gib"}


def to_json(record: DataclassInstance) -> str:
    """The record as one JSON document."""
    return json.dumps(asdict(record))


def write_json(path: Path, record: DataclassInstance) -> None:
    """Write beside the file, then rename: a reader sees all of it or nothing."""
    draft = path.with_suffix(".part")
    draft.write_text(to_json(record))
    os.replace(draft, path)


def from_json(kind: type[Record], text: str, source: str) -> Record:
    """The record that `to_json` wrote; of version 0.1, too. Unknown fields are left out.

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
        record: Record = adapter(kind).validate_python(content)
    except (ValueError, ValidationError, AttributeError) as error:
        fault = " ".join(str(error).split())[:200]
        raise StudyError(
            f"{source} cannot be read as a {kind.__name__}: {fault}. It is damaged, or another "
            "version of sweeper wrote it: use that one, or give another study.name."
        ) from error
    return record


@cache
def adapter(kind: type[Record]) -> TypeAdapter[Any]:
    """What reads records of a kind; a process makes it once, in a twentieth of a second."""
    return TypeAdapter(kind)
