"""The report on one's own data, on sets with known contents and known faults."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from sweeper.config.compose import compose_settings
from sweeper.config.settings import Settings
from sweeper.doctor import data, room
from sweeper.doctor.checks import check_datasets
from sweeper.doctor.finding import Finding, Level
from sweeper.errors import SweeperError
from sweeper.plan.cells import Inquiry
from sweeper.study.space import Space, study_space
from sweeper.training import reading
from tests.conftest import link_traces

SIDE = 100  # of every image, pixels


def write_set(folder: Path, *labels: str | None, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """One image for each label text in both splits; None leaves the label file out."""
    for red, split in ((0, "train"), (200, "val")):  # no image is a copy of another
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number, text in enumerate(labels):
            image = Image.new("RGB", (SIDE, SIDE // 2), (red, 40 * number, 0))
            image.save(folder / "images" / split / f"{number}.jpg")
            if text is not None:
                (folder / "labels" / split / f"{number}.txt").write_text(text)
    content = {"train": "images/train", "val": "images/val", "names": list(names)}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


def boxes(number: int, count: int, width: float = 0.4, height: float = 0.2) -> str:
    """Rows in different places."""
    return "".join(f"{number} 0.5 {0.4 + i / 100:g} {width} {height}\n" for i in range(count))


def settings(path: Path, *overrides: str) -> Settings:
    own = ("data=custom", f"data.yaml={path}", f"runs_dir={path.parent}/runs")
    return compose_settings([*own, "train.workers=1", "+data.augment.mosaic=0.0", *overrides])


def check(path: Path, *overrides: str) -> dict[str, Finding]:
    found, _ = data.check_data(settings(path, *overrides))
    assert len({f.check for f in found}) == len(found)
    return {f.check: f for f in found}


def test_the_contents_of_a_sound_set_are_told(tmp_path: Path) -> None:
    found = check(write_set(tmp_path, boxes(0, 3), boxes(1, 1), ""))
    assert {f.level for f in found.values()} == {Level.OK}
    assert found["dataset"].text.endswith(
        ": 3 + 3 images to train and validate, 4 + 4 boxes, 2 classes"
    )
    assert found["classes"].text == "boxes to train on: cat 3, dog 1"
    assert found["boxes"].text == (
        "in a training image: median 1, 95 % have at most 3, most 3 (images/train/0.jpg); "
        "1 image without any"
    )
    assert "longer side 100 to 100 px, median 100; 100 % are enlarged" in found["image sizes"].text
    assert " has 3 boxes at batch " in found["fullest"].text


def test_images_without_labels_are_counted_and_the_first_ones_named(tmp_path: Path) -> None:
    found = check(write_set(tmp_path, boxes(0, 1), boxes(1, 1), None, None))
    assert found["labels"].level is Level.WARNING
    assert found["labels"].text == (
        "4 of 8 images have no label file and are taken for background: images/train/2.jpg, "
        "images/train/3.jpg, images/val/2.jpg and 1 more."
    )


def test_odd_labels_are_counted_and_their_files_named(tmp_path: Path) -> None:
    flat, faulty = boxes(0, 1, width=0), "0 0.5 0.5 0.2\n"
    path = write_set(tmp_path, boxes(0, 1) + flat, boxes(1, 1) * 3, "", faulty)
    for number in (0, 1):
        (tmp_path / f"labels/train/lost{number}.txt").write_text(boxes(0, 1))
    found, _ = data.check_data(settings(path))
    assert [f.text for f in found if f.check == "labels" and f.level is Level.WARNING] == [
        "2 label files without an image: labels/train/lost0.txt, labels/train/lost1.txt.",
        "2 boxes have no width or no height and cannot be found: labels/train/0.txt, "
        "labels/val/0.txt.",
        "4 repeated lines left out, as Ultralytics does: labels/train/1.txt, labels/val/1.txt.",
    ]
    (told,) = (f.text for f in found if f.check == "boxes")
    assert told.endswith("1 image without any"), "the faulty one is told as a fault"


def test_boxes_without_any_area_have_no_size(tmp_path: Path) -> None:
    assert "box sizes" not in check(write_set(tmp_path, boxes(0, 1, width=0)))


def test_validation_images_that_are_trained_on_are_named_with_their_copy(tmp_path: Path) -> None:
    path = write_set(tmp_path, boxes(0, 1), boxes(1, 1))
    content = (tmp_path / "images/val/1.jpg").read_bytes()
    (tmp_path / "images/train/copy.jpg").write_bytes(content)
    lists = "train: [images/train, some.txt]"
    path.write_text(path.read_text().replace("train: images/train", lists))
    (tmp_path / "some.txt").write_text("./images/val/0.jpg\n")
    (tmp_path / "labels/train/copy.txt").write_text(boxes(1, 1))
    (shared,) = (f for f in data.check_data(settings(path))[0] if f.level is Level.WARNING)
    assert shared.text == (
        "2 of 2 validation images are trained on too, so mAP@0.5 also tells how well they are "
        "remembered: images/val/0.jpg, images/val/1.jpg is images/train/copy.jpg."
    )


def test_training_images_that_are_there_twice_are_named(tmp_path: Path) -> None:
    path = write_set(tmp_path, boxes(0, 1), boxes(1, 1))
    content = (tmp_path / "images/train/0.jpg").read_bytes()
    for name in ("a", "b"):
        (tmp_path / f"images/train/{name}.jpg").write_bytes(content)
        (tmp_path / f"labels/train/{name}.txt").write_text(boxes(1, 1))
    lists = "train: [images/train, some.txt]"  # a file that is listed twice is no copy
    path.write_text(path.read_text().replace("train: images/train", lists))
    (tmp_path / "some.txt").write_text("./images/train/1.jpg\n")
    (twice,) = (f for f in data.check_data(settings(path))[0] if f.level is Level.WARNING)
    assert twice.text == (
        "2 of 5 training images are there twice, under another name: "
        "images/train/a.jpg is images/train/0.jpg, images/train/b.jpg is images/train/0.jpg."
    )


def test_classes_that_no_validation_counts_are_named(tmp_path: Path) -> None:
    path = write_set(tmp_path, boxes(0, 2), boxes(1, 1))
    (tmp_path / "labels/val/1.txt").write_text(boxes(0, 1))
    found = check(path)["validation"]
    assert found.level is Level.WARNING
    assert found.text == "1 of 2 classes that are trained on have no box to validate on: dog."


def test_classes_without_a_box_to_train_on_are_named(tmp_path: Path) -> None:
    path = write_set(tmp_path, boxes(0, 2), names=("cat", "dog", "emu"))
    (tmp_path / "labels/val/0.txt").write_text(boxes(1, 1))  # to validate only
    found = check(path)["classes"]
    assert found.level is Level.WARNING
    assert found.text == "boxes to train on: cat 2. 2 of 3 classes have none: dog, emu."


@pytest.mark.parametrize(
    ("side", "imgsz", "level", "said"),
    [
        (0.04, 640, Level.OK, "640, as set, suits the boxes: 95 % have 18 px or more"),
        (0.4, 640, Level.OK, "320 may do: 95 % of the boxes have 32 px or more there"),
        (0.01, 640, Level.WARNING, "Try train.imgsz=1152; activations take 3.2 times"),
        (0.002, 640, Level.WARNING, "Try train.imgsz=1280, or cut the images into tiles"),
        (0.002, 1280, Level.WARNING, "Cut the images into tiles"),
    ],
)
def test_the_image_size_follows_from_the_smallest_boxes(
    tmp_path: Path, side: float, imgsz: int, level: Level, said: str
) -> None:
    path = write_set(tmp_path, boxes(0, 9, side, side), boxes(1, 9, side, side))
    found = check(path, f"train.imgsz={imgsz}")["imgsz"]
    assert found.level is level and said in found.line


def test_box_sizes_are_those_of_the_image_as_it_is_trained_on(tmp_path: Path) -> None:
    found = check(write_set(tmp_path, boxes(0, 1, 0.1, 0.2), boxes(1, 3, 0.5, 1.0)))["box sizes"]
    # 100 x 50 px become 640 x 320: sides of 64 and 320 px
    assert "at train.imgsz=640 the median side is 320 px; 0 % of the boxes are small" in found.text


def test_each_kind_of_fault_has_its_finding_and_the_report_goes_on(tmp_path: Path) -> None:
    path = write_set(tmp_path, boxes(0, 1), boxes(5, 12), boxes(1, 1), None)
    whole = (tmp_path / "images/train/2.jpg").read_bytes()
    (tmp_path / "images/train/2.jpg").write_bytes(whole[: len(whole) // 2])
    found = check_datasets(Space.of(settings(path)))
    failed = {f.check: f for f in found if f.level is Level.FAILURE}
    assert set(failed) == {"images", "labels"}
    assert "images/train/2.jpg cannot be read" in failed["images"].text
    assert (
        failed["labels"].text.startswith("24 faults:") and "and 14 more" in failed["labels"].text
    )
    assert any("no label file" in f.text for f in found)
    assert {"classes", "boxes", "box sizes"} <= {f.check for f in found}
    assert "once the dataset has no faults" in found[-1].text


def test_labels_are_read_once_for_report_and_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = write_set(tmp_path, boxes(0, 1)), []
    read = reading.read_labels
    monkeypatch.setattr(reading, "read_labels", lambda *a: seen.append(a) or read(*a))

    def stop(inquiry: Inquiry, folder: Path) -> None:
        assert inquiry.requests[0].setup.boxes_source == "labels"
        raise SweeperError("enough")

    monkeypatch.setattr(room, "make_plan", stop)
    assert "enough" in check_datasets(Space.of(settings(path, "batch=1", "accumulate=1")))[-1].text
    assert len(seen) == 2, "two label files"


def test_a_batch_beyond_the_set_is_a_failure_and_ends_what_fits(
    tmp_path: Path, traces: Path
) -> None:
    path = write_set(tmp_path, boxes(0, 1), boxes(1, 1), boxes(0, 2))
    runs = link_traces(tmp_path / "runs", traces)
    own = ["data=custom", f"data.yaml={path}", f"runs_dir={runs}", "train.imgsz=64", "amp=true"]
    found = check_datasets(study_space([*own, "batch=2,4", "accumulate=1"]))
    (failed,) = (f for f in found if f.level is Level.FAILURE)
    assert failed.text == (
        "batch must not exceed the 3 training images of data=custom but got 4. "
        "Set batch=3 or less."
    )
    assert "amp on, simulated: any batch fits " in found[-1].text
    assert found[-1].text.endswith(" GiB, also all 3 images at once")
    found = check_datasets(study_space([*own, "batch=2", "accumulate=1"]))
    assert {f.level for f in found if f.check == "batch"} == {Level.OK}


def test_every_set_of_a_space_is_read_in_its_order(tmp_path: Path) -> None:
    first = write_set(tmp_path / "a", boxes(0, 1), boxes(7, 1))
    second = write_set(tmp_path / "b", boxes(0, 1), boxes(9, 1))
    own = ["data=custom", f"data.yaml={first},{second}", "batch=1", "accumulate=1", "amp=false"]
    found = check_datasets(study_space([*own, f"runs_dir={tmp_path}/runs"]))
    failed = [f.text for f in found if f.level is Level.FAILURE]
    assert ["a/labels" in text for text in failed] == [True, False]
    assert "once the dataset has no faults" in found[-1].text


def test_without_the_set_its_room_is_predicted_with_assumed_boxes(
    tmp_path: Path, traces: Path
) -> None:
    runs = link_traces(tmp_path / "runs", traces)
    own = ["data=custom", "data.nc=80", "data.imgsz=640", "amp=true", f"runs_dir={runs}"]
    found = check_datasets(study_space([*own, "batch=1", "accumulate=1", "vram=t4"]))
    assert found[0].level is Level.FAILURE
    assert "8 boxes per image assumed" in found[-1].text


def test_a_set_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: nowhere\nval: nowhere\nnames: [a]\n")
    own = settings(tmp_path / "data.yaml")
    assert data.check_presence(own).level is Level.OK
    found, _ = data.check_data(own)
    (failed,) = (f for f in found if f.level is Level.FAILURE)
    assert "'train' points to" in failed.text and "'val' points to" in failed.text
    (tmp_path / "data.yaml").unlink()
    assert data.check_presence(own).level is Level.FAILURE
    found, read = data.check_data(own)
    assert [f.level for f in found] == [Level.FAILURE] and read is None


def test_the_embedded_digits_take_one_line(tmp_path: Path) -> None:
    small = ("data.digits.train=4", "data.digits.val=2", "data.imgsz=64", f"runs_dir={tmp_path}")
    (found,), _ = data.check_data(compose_settings([*small]))
    assert found.level is Level.OK and "4 + 2 images" in found.text
