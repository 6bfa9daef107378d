"""Label files in YOLO format: where they lie, what they hold, and what is wrong with them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TOLERANCE = 0.01  # as Ultralytics' verify_image_label
CLASSES = "classes.txt"  # LabelImg puts it beside the labels


class Box(NamedTuple):
    """One labelled object; of a polygon the box around it.

    Attributes:
        number: Of its class.
        width: As a fraction of the image's.
        height: Likewise.
    """

    number: int
    width: float
    height: float

    @property
    def is_flat(self) -> bool:
        """Whether it has no area: nothing can be found there."""
        return self.width == 0 or self.height == 0


@dataclass(frozen=True, slots=True)
class Labels:
    """What a label file holds.

    Attributes:
        boxes: Those that Ultralytics trains on.
        repeated: Rows that say once more what another one says, which it leaves out.
        faults: What is wrong, line by line; Ultralytics leaves the image out.
    """

    boxes: tuple[Box, ...]
    repeated: int = 0
    faults: tuple[str, ...] = ()


def label_path(image: Path) -> Path:
    """Where Ultralytics looks for an image's labels (its ``img2label_paths``)."""
    head, found, tail = str(image).rpartition("/images/")
    return Path(f"{head}/labels/{tail}" if found else tail).with_suffix(".txt")


def read_labels(path: Path, nc: int) -> Labels | None:
    """What a label file holds, None if there is no file."""
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return Labels((), faults=(f"{path} cannot be read: {error}",))
    boxes: dict[tuple[float, ...], Box] = {}
    faults: list[str] = []
    repeated = 0
    rows = {number: row for number, line in enumerate(lines, 1) if (row := line.split())}
    for number, row in rows.items():
        found = _read_row(row, nc)
        if isinstance(found, Box):
            repeated += (values := _as_float32(row)) in boxes
            boxes[values] = found
        else:
            faults.append(f"{path}:{number}: {found}")
    if fault := _mixture(rows):
        faults.append(f"{path} {fault}")
    return Labels(tuple(boxes.values()), repeated, tuple(faults))


def labels_without_image(images: Iterable[Path]) -> list[Path]:
    """The label files beside those of ``images`` that belong to no image, in their order."""
    folders = {path.parent: label_path(path).parent for path in images}
    found: list[Path] = []
    for folder, labels in folders.items():
        if labels == folder or not labels.is_dir():
            continue  # text files beside images may be anything
        known = {path.stem for path in folder.iterdir()}
        rest = (path for path in labels.glob("*.txt") if path.stem not in known)
        found += sorted(path for path in rest if path.name != CLASSES)
    return found


def _as_float32(row: list[str]) -> tuple[float, ...]:
    """The numbers as Ultralytics compares them."""
    return tuple(array("f", map(float, row)))


def _mixture(rows: dict[int, list[str]]) -> str:
    """That boxes and polygons lie in one file, which Ultralytics drops; else empty."""
    box = next((number for number, row in rows.items() if len(row) == 5), None)
    polygon = next((number for number, row in rows.items() if len(row) > 6), None)
    if box is None or polygon is None:
        return ""
    return f"mixes boxes (line {box}) and polygons (line {polygon}); keep to one of them"


def _read_row(row: list[str], nc: int) -> Box | str:
    """The box of ``class x y w h`` (or a polygon), or what is wrong with it."""
    try:
        values = [float(v) for v in row]
    except ValueError:
        return f"not all numbers: {' '.join(row)[:60]}"
    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        return f"expected 'class x y w h' but got {len(row)} columns"
    if not (values[0].is_integer() and 0 <= values[0] < nc):
        known = f"one of 0 to {nc - 1}" if nc > 1 else "0, the only one"
        return f"class {row[0]} is not {known}"
    outside = [v for v in row[1:] if not -TOLERANCE <= float(v) <= 1 + TOLERANCE]
    if outside:
        return f"coordinates must be fractions from 0 to 1 but got {' '.join(outside[:4])}"
    if len(row) == 5:
        if min(values[3:]) < 0:
            return f"width and height cannot be negative but are {row[3]} and {row[4]}"
        return Box(int(values[0]), values[3], values[4])
    xs, ys = values[1::2], values[2::2]
    return Box(int(values[0]), max(xs) - min(xs), max(ys) - min(ys))
