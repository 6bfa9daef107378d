from pathlib import Path

import pytest
import yaml
from PIL import Image
from ultralytics.data.base import BaseDataset

from sweeper.errors import DataError
from sweeper.training.data_yaml import class_names, split_images


def write_yaml(root: Path, **changes: object) -> Path:
    for split in ("train", "val"):
        write_image(root / "images" / split / "0.jpg")
    content = {"train": "images/train", "val": "images/val", "names": ["cat", "dog"]} | changes
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root / "data.yaml"


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32)).save(path)


def found_by_ultralytics(place: Path) -> list[Path]:
    """What its own search finds there."""
    dataset = BaseDataset.__new__(BaseDataset)
    dataset.prefix, dataset.fraction = "", 1.0
    return [Path(name) for name in dataset.get_img_files(str(place))]


def test_the_images_of_a_folder_are_those_that_ultralytics_finds(tmp_path: Path) -> None:
    path, train = write_yaml(tmp_path), tmp_path / "images/train"
    for name in ("a/1.jpg", "a-b.jpg", "[c].JPG", ".thumbs/0.jpg", "a/._1.jpg"):
        write_image(train / name)
    write_image(tmp_path / "store/5.jpg")
    (train / "linked").symlink_to(tmp_path / "store")
    (train / "notes.jpeg2000").touch()
    found = split_images(path, "train")
    names = ["0.jpg", "[c].JPG", "a-b.jpg", "a/1.jpg", "linked/5.jpg"]
    assert found == found_by_ultralytics(train) == [train / name for name in names]


def test_the_images_of_a_list_are_those_that_ultralytics_finds(tmp_path: Path) -> None:
    path, place = write_yaml(tmp_path, train="train.txt"), tmp_path / "train.txt"
    place.write_text("# a comment\n./images/val/0.jpg\n\n./images/train/0.jpg\n")
    found = split_images(path, "train")
    assert found == found_by_ultralytics(place)
    assert found == [tmp_path / f"images/{split}/0.jpg" for split in ("train", "val")]


def test_a_listed_image_with_a_blank_behind_it_is_missing(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, train="train.txt")
    (tmp_path / "train.txt").write_text("./images/val/0.jpg \n./images/train/0.jpg\n")
    with pytest.raises(
        DataError, match=r"lists 1 missing image, e\.g\. '.*0\.jpg '\. Mend the list"
    ):
        split_images(path, "train")


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", "größe.jpg".encode("latin-1")])
def test_what_is_neither_a_folder_nor_a_list_is_named(tmp_path: Path, content: bytes) -> None:
    path = write_yaml(tmp_path, train="images.zip")
    (tmp_path / "images.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"'train' points to .*/images\.zip, which is neither a"):
        split_images(path, "train")


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = write_yaml(tmp_path, path=str(tmp_path / "loop"))
    with pytest.raises(DataError, match=r"'train' points to .*, which does not exist"):
        split_images(path, "train")


def test_a_date_that_is_none_is_named(tmp_path: Path) -> None:
    path = write_yaml(tmp_path)
    path.write_text(path.read_text() + "exported: 2024-02-30\n")
    with pytest.raises(DataError, match=r"data\.yaml=.* cannot be read: day is out of range"):
        split_images(path, "train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"train: a\nnames:\n\t- cat\n", r"cannot be read: line 3: found character '\t' that "),
        ("train: größe\n".encode("latin-1"), "is not in UTF-8. Save it in that encoding."),
        (b"train: a\x00\n", "cannot be read: unacceptable character"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "data.yaml").write_bytes(content)
    with pytest.raises(DataError) as error:
        split_images(tmp_path / "data.yaml", "train")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        {"nc": "2", "names": ["cat", "dog"]},
        {"nc": 2.0, "names": {0: "cat", 1: "dog"}},
        {"names": {"1": "dog", "0": "cat"}},
    ],
)
def test_numbers_may_be_words(content: dict[str, object]) -> None:
    assert class_names(content, Path("data.yaml")) == ("cat", "dog")


@pytest.mark.parametrize("nc", ["two", 1.9, None, [2], 0])
def test_a_number_of_classes_that_is_none_is_named(nc: object) -> None:
    with pytest.raises(
        DataError, match=r"data\.yaml: nc must be a whole number from 1 on but is "
    ):
        class_names({"nc": nc, "names": ["cat", "dog"]}, Path("data.yaml"))
