"""The records of a trial as JSON files: written whole, read back with their types."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sweeper.trial.record import EpochReport, MemoryReading, Outcome, TrialResult, TrialSpec

Record = TypeVar("Record", TrialSpec, EpochReport, MemoryReading, TrialResult)

_NESTED: dict[str, Any] = {
    "epochs": EpochReport,
    "memory": MemoryReading,
    "predicted": MemoryReading,
}


def to_json(record: TrialSpec | EpochReport | MemoryReading | TrialResult) -> str:
    """The record as one JSON document."""
    return json.dumps(asdict(record), allow_nan=True)


def from_json(kind: type[Record], text: str) -> Record:
    """The record that `to_json` wrote.

    Raises:
        TypeError: The document has a field that ``kind`` has not, or lacks one.
        ValueError: It is no JSON, or an outcome has an unknown name.
    """
    return kind(**{name: _revive(name, value) for name, value in json.loads(text).items()})


def _revive(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_revive(name, item) for item in value)
    if name in _NESTED and isinstance(value, dict):
        return _NESTED[name](**value)
    return Outcome(value) if name == "outcome" else value


def write_record(path: Path, record: TrialSpec | TrialResult) -> None:
    """Write the record so that a reader sees all of it or nothing."""
    draft = path.with_suffix(".part")
    draft.write_text(to_json(record))
    os.replace(draft, path)
