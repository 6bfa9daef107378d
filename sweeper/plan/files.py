"""Files that a plan writes: refused before work starts, written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import SettingsError


def check_target(key: str, value: str | None, suffixes: tuple[str, ...] = ()) -> Path | None:
    """The path to write to, if one is set.

    Raises:
        SettingsError: Its folder does not exist, it is a folder, or it ends in another suffix.
    """
    if value is None:
        return None
    path = Path(value).expanduser()
    if suffixes and path.suffix not in suffixes:
        raise SettingsError(f"{key} must end in {', '.join(suffixes)} but got {value}.")
    if not path.parent.is_dir():
        raise SettingsError(
            f"{key}={value} lies in a folder that does not exist. "
            f"Create it: mkdir -p {path.parent}"
        )
    if path.is_dir():
        raise SettingsError(f"{key}={value} is a folder. Give the name of a file in it.")
    return path


def write_whole(key: str, path: Path, content: bytes) -> None:
    """Write beside the file, then rename: readers see all of it or nothing.

    Raises:
        SettingsError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SettingsError(
            f"{key}={path} cannot be written: {error.strerror}. Choose another file."
        ) from error


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows under their columns as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
