import os
from pathlib import Path

import pytest
from PIL import Image
from ultralytics.data.utils import verify_image_label

from sweeper.training.labels import Box, Labels, labels_without_image, read_labels

BOX = "0 0.5 0.5 0.2 0.2"


def test_a_pipe_or_a_folder_is_no_label_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    assert read_labels(tmp_path / "pipe.txt", 1) is None
    assert read_labels(tmp_path / "folder.txt", 1) is None


def test_a_byte_order_mark_is_no_part_of_the_class(tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text(BOX, "utf-8-sig")
    assert read_labels(tmp_path / "0.txt", 1) == Labels((Box(0, 0.2, 0.2),))


def test_boxes_and_polygons_in_one_file_are_a_fault(tmp_path: Path) -> None:
    polygon = "0 0.1 0.1 0.3 0.1 0.2 0.6"
    other = "0 0.1 0.1 0.3 0.1 0.2 0.5"
    for name, rows in (("mixed", (BOX, "", polygon)), ("polygons", (polygon, other))):
        (tmp_path / name).write_text("\n".join(rows))
    polygons, mixed = (read_labels(tmp_path / name, 1) for name in ("polygons", "mixed"))
    assert polygons and len(polygons.boxes) == 2 and not polygons.faults
    assert mixed and mixed.faults == (
        f"{tmp_path}/mixed mixes boxes (line 1) and polygons (line 3); keep to one of them",
    )


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
    found = read_labels(tmp_path / "0.txt", 1)
    assert found and found.faults == (f"{tmp_path}/0.txt:1: {fault}",)


@pytest.mark.parametrize(
    ("rows", "boxes", "repeated"),
    [
        ((BOX, "", "0 .5 .50 .2 0.2000000001", "1 .5 .5 .2 .2"), 2, 1),
        (("0 .1 .1 .3 .1 .2 .6",) * 3, 1, 2),
        (("0 .1 .1 .3 .1 .2 .6", "0 .3 .1 .1 .1 .2 .6"), 2, 0),  # two polygons in one box
    ],
)
def test_repeated_rows_count_once_as_in_ultralytics(
    tmp_path: Path, rows: tuple[str, ...], boxes: int, repeated: int
) -> None:
    image = tmp_path / "0.jpg"
    Image.new("RGB", (32, 32)).save(image)
    image.with_suffix(".txt").write_text("\n".join(rows))
    found = read_labels(image.with_suffix(".txt"), 2)
    assert found and (len(found.boxes), found.repeated) == (boxes, repeated)
    theirs = verify_image_label(
        (str(image), str(image.with_suffix(".txt")), "", False, 2, 0, 0, 0)
    )
    assert len(theirs[1]) == boxes


def test_label_files_without_an_image_are_found(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder, names in (
        (images, ("a.jpg", "b.jpg")),
        (labels, ("a.txt", "b.txt", "classes.txt")),
    ):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    assert labels_without_image([images / "a.jpg"]) == [], "b.jpg is of another split"
    (labels / "A.txt").touch()
    (images / "b.jpg").unlink()
    assert labels_without_image([images / "a.jpg"]) == [labels / "A.txt", labels / "b.txt"]
    assert labels_without_image([tmp_path / "c.jpg"]) == [], "no labels folder"
