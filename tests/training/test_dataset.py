import os
from pathlib import Path

import pytest
import yaml
from PIL import Image

from sweeper.config.settings import DataSettings
from sweeper.errors import DataError
from sweeper.training.copies import BEGINNING
from sweeper.training.dataset import check_dataset, prepare_dataset
from sweeper.training.labels import label_path
from sweeper.training.reading import read_dataset

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write_set(root: Path, label: str = "0 0.5 0.5 0.2 0.2", **changes: object) -> Path:
    for red, split in ((0, "train"), (200, "val")):  # no image is a copy of another
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (32, 32), (red, 40 * i, 0)).save(root / f"images/{split}/{i}.jpg")
            (root / "labels" / split / f"{i}.txt").write_text(label + "\n")
    content = {"train": "images/train", "val": "images/val", "names": ["cat", "dog"]} | changes
    path = root / "data.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return path


def test_a_sound_set_is_described(tmp_path: Path) -> None:
    found = check_dataset(write_set(tmp_path))
    assert found.names == ("cat", "dog")
    assert (found.train_images, found.val_images, found.boxes) == (2, 2, (1, 1))


def test_the_digest_is_that_of_what_lies_there_not_of_where(tmp_path: Path) -> None:
    first, second = (check_dataset(write_set(tmp_path / n)) for n in ("a", "b"))
    assert len(first.digest) == 8 and first.facts == second.facts
    assert (first.facts.images, first.facts.boxes) == (2, 2)
    (tmp_path / "b/labels/val/1.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    assert check_dataset(tmp_path / "b/data.yaml").digest != first.digest


def test_a_name_that_is_not_utf_8_has_its_share_of_the_digest(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    before = check_dataset(path).digest
    for file in (tmp_path / "images/train/1.jpg", tmp_path / "labels/train/1.txt"):
        file.rename(file.with_stem(os.fsdecode(b"1\xf6")))
    assert check_dataset(path).digest != before


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("2 0.5 0.5 0.2 0.2", "class 2 is not one of 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is not one of 0 to 1"),
        ("0 50 50 20 20", "coordinates must be fractions from 0 to 1 but got 50 50 20 20"),
        ("0 0.5 0.5", "expected 'class x y w h' but got 3 columns"),
        ("cat 0.5 0.5 0.2 0.2", "not all numbers: cat 0.5"),
    ],
)
def test_a_faulty_label_is_named_with_its_line(tmp_path: Path, label: str, fault: str) -> None:
    path = write_set(tmp_path, "0 0.1 0.1 0.1 0.1\n" + label)
    with pytest.raises(DataError) as error:
        check_dataset(path)
    assert f"labels/train/0.txt:2: {fault}" in str(error.value)
    assert "4 faults" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": None}, "has no 'val' key"),
        ({"train": "images/nowhere"}, "'train' points to .*nowhere, which does not exist"),
        ({"names": None}, "needs 'names'"),
        ({"nc": 3}, "nc is 3 but 'names' has 2 entries"),
        ({"names": {1: "cat", 2: "dog"}}, "keys of 'names' must be 0 to 1"),
        ({"names": {0: "cat", "x": "dog"}}, "keys of 'names' must be 0 to 1"),
        ({"names": ["cat", ["dog"]]}, "'names' must be words"),
        ({"names": "raccoon"}, r"'names' must be a list but is 'raccoon', e\.g\. \[raccoon\]"),
        ({"names": {0: "1", 1: "cat", 2: 1}}, "'names' has '1' twice, for classes 0 and 2"),
        ({"path": 7}, "'path' must be the path of a folder"),
        ({"val": [["images/val"]]}, "'val' must be a path, or a list of paths"),
        ({"train": "labels/train"}, "the train split has no images"),
    ],
)
def test_a_faulty_yaml_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_dataset(write_set(tmp_path, **changes))


def test_every_kind_of_fault_is_told_at_once(tmp_path: Path) -> None:
    path = write_set(tmp_path, "7 0.5 0.5 0.2 0.2", val="images/nowhere")
    (tmp_path / "images/train/1.jpg").write_bytes(b"")
    with pytest.raises(DataError) as error:
        check_dataset(path)
    told = str(error.value)
    assert "4 faults:" in told
    for said in ("nowhere, which", "1.jpg is empty", "0.txt:1: class 7", "1.txt:1: class 7"):
        assert said in told


def test_files_of_both_splits_are_read_once(tmp_path: Path) -> None:
    path = write_set(tmp_path, "7 0.5 0.5 0.2 0.2", val="images/train")
    found = read_dataset(path)
    assert len(found.label_faults) == len(found.images) == 2
    assert found.train == found.val


def test_the_box_around_a_polygon_is_its_size(tmp_path: Path) -> None:
    found = read_dataset(write_set(tmp_path, "1 0.1 0.1 0.3 0.1 0.2 0.6"))
    (box,) = found.train[0].boxes or ()
    assert (box.number, box.width, box.height) == pytest.approx((1, 0.2, 0.5))
    assert found.train[0].size == (32, 32)


def test_missing_labels_are_named_by_where_they_should_be(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "annotations")
    with pytest.raises(DataError, match=r"labels/train/0\.txt is missing"):
        check_dataset(path)


def test_where_labels_are_looked_for_is_said_of_images_in_a_folder_of_another_name(
    tmp_path: Path,
) -> None:
    path = write_set(tmp_path, train="pictures/train")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "images/train").rename(tmp_path / "pictures/train")
    with pytest.raises(DataError) as error:
        check_dataset(path)
    assert f"e.g. {tmp_path}/pictures/train/0.txt is missing" in str(error.value)
    assert "replaces the last /images/ of an image's path by /labels/" in str(error.value)


def test_the_refusal_names_the_doctor_that_checks_again(tmp_path: Path) -> None:
    path = write_set(tmp_path / "my data", "7 0.5 0.5 0.2 0.2")
    with pytest.raises(DataError) as error:
        check_dataset(path)
    *_, last = str(error.value).splitlines()
    assert last == (
        f"  Check again by: python -m sweeper.doctor data=custom 'data.yaml={tmp_path}/my "
        "data/data.yaml'"
    )


def test_labels_are_looked_for_where_a_linked_folder_lies(tmp_path: Path) -> None:
    path, train = write_set(tmp_path / "set"), tmp_path / "set/images/train"
    train.rename(tmp_path / "pictures")
    train.symlink_to(tmp_path / "pictures")
    with pytest.raises(
        DataError, match=rf"label file, e\.g\. {tmp_path}/pictures/0\.txt is missing"
    ):
        check_dataset(path)
    (tmp_path / "pictures/0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert check_dataset(path).boxes == (1, 0)


def test_an_image_without_labels_is_background(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    (tmp_path / "labels/train/0.txt").unlink()
    found = check_dataset(path)
    assert sum(found.boxes) == 1
    (caution,) = found.cautions
    assert caution.startswith("without a label file: 1 image, e.g. ")
    assert found.unlabelled == (tmp_path / "images/train/0.jpg",)
    assert (found.facts.images + found.facts.val_images, found.facts.unlabelled) == (4, 1)


def test_validation_images_that_are_trained_on_are_counted(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    assert check_dataset(path).cautions == ()
    path.write_text(path.read_text().replace("val: images/val", "val: [images/val, images/train]"))
    found = check_dataset(path)
    assert found.cautions == (
        "2 of 4 validation images are trained on too: mAP@0.5 also tells how well they are "
        "remembered.",
    )
    assert found.facts.shared == 2


def test_a_copy_under_another_name_is_trained_on_too(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    assert not read_dataset(path).shared
    train, val = tmp_path / "images/train", tmp_path / "images/val"
    Image.effect_noise((256, 256), 50).save(val / "1.jpg")
    whole = (val / "1.jpg").read_bytes()
    assert len(whole) > 2 * BEGINNING
    for name, change in (("0.jpg", -3), ("1.jpg", BEGINNING // 2)):  # as long, and others
        changed = bytearray(whole)
        changed[change] ^= 1
        (train / name).write_bytes(changed)
    (train / "copy.jpg").write_bytes(whole)
    assert read_dataset(path).shared == ((val / "1.jpg", train / "copy.jpg"),)
    assert check_dataset(path).facts.shared == 1


def test_an_image_in_both_splits_is_shared_though_pillow_cannot_read_it(own_data: Path) -> None:
    path = own_data
    content = yaml.safe_load(path.read_text())
    folder = Path(content["path"], content["val"])
    image = next(folder.iterdir()).rename(folder / "photo.heic")
    image.write_bytes(b"not for Pillow")
    content["train"] = content["val"]
    path.write_text(yaml.safe_dump(content))
    shared = read_dataset(path).shared
    assert len(shared) == len(list(folder.iterdir())) and (image, image) in shared


def test_labels_without_any_box_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image of the train split has a box"):
        check_dataset(write_set(tmp_path, ""))


def test_a_yaml_that_grows_by_its_aliases_is_refused_at_once(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path.write_text("\n".join([*lines, "train: *a8", "val: images/val", "names: *a8"]))
    with pytest.raises(DataError, match="'train' must be a path"):
        check_dataset(path)


def test_a_jpeg_with_bytes_behind_its_end_is_whole(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    with (tmp_path / "images/train/0.jpg").open("ab") as file:
        file.write(bytes(4))
    assert check_dataset(path).train_images == 2


def test_an_image_that_cannot_be_trained_on_is_named(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    images = tmp_path / "images/train"
    Image.effect_noise((64, 64), 50).save(images / "0.jpg")
    whole = (images / "0.jpg").read_bytes()
    (images / "0.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "1.jpg").write_bytes(b"")
    (images / "2.jpg").write_text("not an image")
    (images / "3.jpg").symlink_to(images / "3.jpg")
    os.mkfifo(images / "4.jpg")
    Image.new("RGB", (9, 32)).save(images / "5.png")
    with pytest.raises(DataError) as error:
        check_dataset(path)
    told = str(error.value)
    for said in (
        *("0.jpg cannot be read: ", "1.jpg is empty", "2.jpg is not an image that Pillow knows"),
        *("3.jpg cannot be read: ", "4.jpg is not a file", "5.png has 9 x 32 pixels", "6 faults"),
    ):
        assert said in told


def test_a_text_list_of_images_is_read(tmp_path: Path) -> None:
    path = write_set(tmp_path, train="train.txt")
    (tmp_path / "train.txt").write_text("./images/train/0.jpg\n")
    assert check_dataset(path).train_images == 1


def test_a_text_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = write_set(tmp_path, train="train.txt")
    (tmp_path / "train.txt").write_text("./images/train/0.jpg\n", "utf-8-sig")
    assert check_dataset(path).train_images == 1


def test_a_path_with_a_space_in_a_text_list_is_one_path(tmp_path: Path) -> None:
    path = write_set(tmp_path / "my data", train="train.txt")
    (tmp_path / "my data/train.txt").write_text("./images/train/0.jpg\n")
    assert check_dataset(path).train_images == 1


def test_a_relative_path_key_reaches_ultralytics_as_an_absolute_one(tmp_path: Path) -> None:
    path = write_set(tmp_path / "mine", path="mine")
    found = prepare_dataset(DataSettings("custom", str(path)), tmp_path / "runs")
    content = yaml.safe_load(found.yaml.read_text())
    assert content["path"] == str(tmp_path / "mine")
    assert (Path(content["path"]) / content["train"]).is_dir()


def test_polygons_count_as_boxes(tmp_path: Path) -> None:
    assert check_dataset(write_set(tmp_path, "0 0.1 0.1 0.2 0.1 0.2 0.2")).boxes == (1, 1)


def test_another_number_of_classes_than_promised_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.nc=80 but .* names 2 classes"):
        check_dataset(write_set(tmp_path), nc=80)


@pytest.mark.parametrize("name", ["nothing.yaml", "images"])
def test_a_path_that_is_no_yaml_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"data\.yaml=.* is neither a file nor"):
        prepare_dataset(DataSettings("custom", str(tmp_path / name)), tmp_path)


def test_of_a_folder_the_file_in_it_or_above_it_is_named(tmp_path: Path) -> None:
    images = tmp_path / "own/images"
    images.mkdir(parents=True)
    with pytest.raises(DataError, match=r"is a folder\. Give your data\.yaml; neither there nor"):
        prepare_dataset(DataSettings("custom", str(images)), tmp_path)
    (tmp_path / "own/pets.yml").touch()
    for folder in (images, images.parent):
        with pytest.raises(
            DataError, match=rf"is a folder\. Give the file: {tmp_path}/own/pets.yml"
        ):
            prepare_dataset(DataSettings("custom", str(folder)), tmp_path)


def test_a_set_of_ultralytics_that_cannot_be_downloaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"coco8\.yaml could not be found or downloaded"):
        prepare_dataset(DataSettings("coco8", "coco8.yaml"), tmp_path)


def test_only_the_last_images_folder_becomes_labels() -> None:
    assert label_path(Path("/a/images/b/images/c.jpg")) == Path("/a/images/b/labels/c.txt")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")
def test_coco128_is_as_ultralytics_counts_it() -> None:
    found = check_dataset(SHARED / "coco128" / "coco128.yaml")
    assert (found.train_images, sum(found.boxes), len(found.names)) == (128, 929, 80)
