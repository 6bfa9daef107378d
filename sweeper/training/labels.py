"""Label files in YOLO format: where they lie, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

TOLERANCE = 0.01  # as Ultralytics' verify_image_label


def label_path(image: Path) -> Path:
    """Where Ultralytics looks for an image's labels (its ``img2label_paths``)."""
    head, found, tail = str(image).rpartition("/images/")
    return Path(f"{head}/labels/{tail}" if found else tail).with_suffix(".txt")


def check_labels(
    path: Path, nc: int, faults: list[str], read: Callable[[bytes], object] = lambda content: None
) -> int | None:
    """Number of boxes in a label file, None if there is no file; faults are appended.

    ``read`` is given the content.
    """
    try:
        content = path.read_bytes()
        lines = content.decode().splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path} cannot be read: {error}")
        return 0
    read(content)
    rows = [(i, line.split()) for i, line in enumerate(lines, 1) if line.strip()]
    for number, row in rows:
        fault = _row_fault(row, nc)
        if fault:
            faults.append(f"{path}:{number}: {fault}")
    return len(rows)


def _row_fault(row: list[str], nc: int) -> str | None:
    """What is wrong with ``class x y w h`` (or a polygon), None if nothing is."""
    try:
        values = [float(v) for v in row]
    except ValueError:
        return f"not all numbers: {' '.join(row)[:60]}"
    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        return f"expected 'class x y w h' but got {len(row)} columns"
    if not (values[0].is_integer() and 0 <= values[0] < nc):
        return f"class {row[0]} is not one of 0 to {nc - 1}"
    if not all(-TOLERANCE <= v <= 1 + TOLERANCE for v in values[1:]):
        return f"coordinates must be fractions from 0 to 1 but got {' '.join(row[1:5])}"
    return None
