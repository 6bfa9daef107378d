import os
from pathlib import Path

import pytest

from sweeper.training.labels import read_labels

BOX = "0 0.5 0.5 0.2 0.2"


def test_a_pipe_or_a_folder_is_no_label_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    faults: list[str] = []
    assert read_labels(tmp_path / "pipe.txt", 1, faults) is None
    assert read_labels(tmp_path / "folder.txt", 1, faults) is None
    assert not faults


def test_a_byte_order_mark_is_no_part_of_the_class(tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text(BOX, "utf-8-sig")
    faults: list[str] = []
    assert read_labels(tmp_path / "0.txt", 1, faults) == ((0, 0.2, 0.2),)
    assert not faults


def test_boxes_and_polygons_in_one_file_are_a_fault(tmp_path: Path) -> None:
    polygon = "0 0.1 0.1 0.3 0.1 0.2 0.6"
    for name, rows in (("mixed", (BOX, "", polygon)), ("polygons", (polygon, polygon))):
        (tmp_path / name).write_text("\n".join(rows))
    faults: list[str] = []
    assert len(read_labels(tmp_path / "polygons", 1, faults) or ()) == 2
    assert not faults
    read_labels(tmp_path / "mixed", 1, faults)
    assert faults == [
        f"{tmp_path}/mixed mixes boxes (line 1) and polygons (line 3); keep to one of them"
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("0 .5 .5 -.005 .2", "width and height cannot be negative but are -.005 and .2"),
        ("0 .1 .1 .2 .1 .2 1.7", "coordinates must be fractions from 0 to 1 but got 1.7"),
        ("0 .5 .5 .2 nan", "coordinates must be fractions from 0 to 1 but got nan"),
    ],
)
def test_the_value_that_is_wrong_is_shown(tmp_path: Path, row: str, fault: str) -> None:
    (tmp_path / "0.txt").write_text(row)
    faults: list[str] = []
    read_labels(tmp_path / "0.txt", 1, faults)
    assert faults == [f"{tmp_path}/0.txt:1: {fault}"]
