"""What a person should know of their data before it is trained on, from one reading of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.doctor.sizes import check_sizes
from sweeper.errors import DataError, SettingsError, SweeperError
from sweeper.numbers import count, listed
from sweeper.study.space import Space
from sweeper.study.specs import require_enough_images
from sweeper.training.contents import read_contents
from sweeper.training.copies import find_twins
from sweeper.training.data_yaml import files_meant, is_shipped
from sweeper.training.dataset import Dataset, locate
from sweeper.training.labels import label_path, labels_without_image
from sweeper.training.reading import LabelledImage, Reading, list_faults, read_dataset

NAMED = 3  # images or classes, before the rest is only counted
CLASSES_SHOWN = 10


def check_presence(settings: Settings) -> Finding:
    """Whether there is a dataset at all, without reading it."""
    data = settings.data
    if data.digits is not None:
        return ok("dataset", f"{data.name} is composed here")
    if data.yaml and Path(data.yaml).expanduser().is_file():
        return ok("dataset", f"{data.yaml} is there")
    if data.yaml and is_shipped(data.yaml):
        return ok("dataset", f"{data.yaml} is one that Ultralytics can download")
    if data.yaml and (folder := Path(data.yaml).expanduser()).is_dir():
        return failure("dataset", f"data.yaml={data.yaml} is a folder.", files_meant(folder))
    text = f"data.yaml={data.yaml} does not exist." if data.yaml else "data.yaml is not set."
    return failure("dataset", text, "Give your data.yaml: data=custom data.yaml=PATH.")


def check_data(settings: Settings) -> tuple[list[Finding], Reading | None]:
    """Compose, fetch or find the dataset, read all of it, and report on it.

    Of the digits, which are composed, there is nothing to report.
    """
    try:
        reading = read_dataset(locate(settings.data, Path(settings.runs_dir)), settings.data.nc)
    except DataError as error:
        return [failure("dataset", str(error), "")], None
    except OSError as error:
        text = f"cannot be prepared: {error}."
        return [failure("dataset", text, "Choose another folder: runs_dir=PATH.")], None
    if settings.data.digits is not None and not reading.faults:
        return [_overview(settings, reading)], reading
    return report(settings, reading), reading


def check_batches(space: Space, settings: Settings, dataset: Dataset) -> list[Finding]:
    """The first cell that the dataset of a configuration is too small for, if any."""
    for cell in space.cells:
        if cell.settings.data != settings.data:
            continue
        try:
            require_enough_images(cell.settings, dataset)
        except SettingsError as error:
            return [failure("dataset", str(error), "")]
    return []


def report(settings: Settings, reading: Reading) -> list[Finding]:
    """Every finding on a dataset, its faults first."""
    found = [_overview(settings, reading), *_faults(reading), *_unlabelled(reading)]
    found += [*_orphans(reading), *_flat(reading), *_repeated(reading), *_shared(reading)]
    found += _twins(reading)
    if not any(image.boxes for image in reading.train):
        return found
    found += [_classes(reading), _boxes_per_image(reading)]
    found += check_sizes(reading, settings.train.imgsz)
    if reading.faults:
        return found
    return [*found, *_unvalidated(reading), _fullest(settings, reading)]


def _overview(settings: Settings, reading: Reading) -> Finding:
    images = f"{len(reading.train):,} + {len(reading.val):,} images"
    boxes = f"{_count_boxes(reading.train):,} + {_count_boxes(reading.val):,} boxes"
    classes = count(len(reading.names), "class", "classes")
    text = f"{settings.data.title}: {images} to train and validate, {boxes}, {classes}"
    return ok("dataset", text)


def _faults(reading: Reading) -> list[Finding]:
    """One finding for each kind, so that many of one hide none of another."""
    kinds = (
        ("dataset", reading.split_faults, ""),  # each says what to do
        (
            "images",
            reading.image_faults,
            "Replace them, or take them out with their labels.",
        ),
        ("labels", reading.label_faults, "Mend these lines."),
    )
    return [failure(name, list_faults(found), do, found) for name, found, do in kinds if found]


def _unlabelled(reading: Reading) -> list[Finding]:
    images = reading.images
    without = [_name(image.path, reading) for image in images if image.boxes is None]
    if not without:
        return []
    text = (
        f"{len(without):,} of {count(len(images), 'image')} have no label file and are taken for "
        f"background: {listed(without, NAMED)}."
    )
    remedy = "Add label files, empty ones for real background, or leave these images out."
    return [warning("labels", text, remedy, without)]


def _orphans(reading: Reading) -> list[Finding]:
    alone = labels_without_image(image.path for image in reading.images)
    if not alone:
        return []
    names = [_name(path, reading) for path in alone]
    text = f"{count(len(alone), 'label file')} without an image: {listed(names, NAMED)}."
    return [warning("labels", text, "Name them as their images, or take them out.", names)]


def _flat(reading: Reading) -> list[Finding]:
    flat = {i.path: sum(box.is_flat for box in i.boxes or ()) for i in reading.images}
    names = [_name(label_path(path), reading) for path, number in flat.items() if number]
    if not names:
        return []
    boxes = count(sum(flat.values()), "box has", "boxes have")
    text = f"{boxes} no width or no height and cannot be found: {listed(names, NAMED)}."
    return [warning("labels", text, "Draw them anew, or take these lines out.", names)]


def _repeated(reading: Reading) -> list[Finding]:
    rows = {i.path: i.labels.repeated for i in reading.images if i.labels and i.labels.repeated}
    if not rows:
        return []
    names = [_name(label_path(path), reading) for path in rows]
    lines = count(sum(rows.values()), "repeated line")
    text = f"{lines} left out, as Ultralytics does: {listed(names, NAMED)}."
    return [warning("labels", text, "Take them out, unless other boxes were meant.", names)]


def _shared(reading: Reading) -> list[Finding]:
    if not reading.shared:
        return []
    pairs = [" is ".join(_name(p, reading) for p in dict.fromkeys(s)) for s in reading.shared]
    text = (
        f"{len(pairs):,} of {count(len(reading.val), 'validation image')} are trained on too, so "
        f"mAP@0.5 also tells how well they are remembered: {listed(pairs, NAMED)}."
    )
    return [warning("dataset", text, "Validate on other images, if there are any.", pairs)]


def _twins(reading: Reading) -> list[Finding]:
    twins = find_twins(image.path for image in reading.train if image.size)
    if not twins:
        return []
    pairs = sorted(" is ".join(_name(path, reading) for path in pair) for pair in twins)
    text = (
        f"{len(pairs):,} of {count(len(reading.train), 'training image')} are there twice, under "
        f"another name: {listed(pairs, NAMED)}."
    )
    remedy = "Take them out: they count double, and their labels may contradict each other."
    return [warning("dataset", text, remedy, pairs)]


def _classes(reading: Reading) -> Finding:
    """Boxes of each class in training, the most frequent first."""
    boxes = _boxes_of_classes(reading.train)
    ranked = [f"{reading.names[number]} {n:,}" for number, n in boxes.most_common()]
    text = f"boxes to train on: {listed(ranked, CLASSES_SHOWN)}"
    if len(ranked) > CLASSES_SHOWN:
        text += f"; fewest {ranked[-1]}"
    missing = [name for number, name in enumerate(reading.names) if number not in boxes]
    if not missing:
        return ok("classes", text)
    named = listed(missing, NAMED)
    text += f". {len(missing)} of {len(reading.names)} classes have none: {named}."
    return warning("classes", text, "They cannot be learned: add examples, or drop the names.")


def _unvalidated(reading: Reading) -> list[Finding]:
    """The classes that are trained on and counted in no validation."""
    train, val = map(_boxes_of_classes, (reading.train, reading.val))
    unseen = [reading.names[number] for number, _ in train.most_common() if number not in val]
    if not unseen:
        return []
    classes = count(len(train), "class", "classes")
    text = (
        f"{len(unseen)} of {classes} that are trained on have no box to validate on: "
        f"{listed(unseen, NAMED)}."
    )
    return [warning("validation", text, "mAP says nothing of them: validate on images of them.")]


def _boxes_of_classes(images: Iterable[LabelledImage]) -> Counter[int]:
    return Counter(box.number for image in images for box in image.boxes or ())


def _boxes_per_image(reading: Reading) -> Finding:
    numbers = [len(image.boxes or ()) for image in reading.train]
    most = max(reading.train, key=lambda image: len(image.boxes or ()))
    empty = sum(not i.boxes and not (i.labels and i.labels.faults) for i in reading.train)
    text = (
        f"in a training image: median {np.median(numbers):g}, 95 % have at most "
        f"{_at_most(numbers)}, most {max(numbers)} ({_name(most.path, reading)}); "
        f"{count(empty, 'image')} without any"
    )
    return ok("boxes", text)


def _fullest(settings: Settings, reading: Reading) -> Finding:
    """What the fullest image of a run holds: memory depends on it."""
    try:
        contents = read_contents(settings, Dataset.of(reading))
    except SweeperError as error:
        return warning("fullest", f"the fullest image of a run is not known: {error}", "")
    epochs = count(settings.train.epochs, "epoch")
    labelled = max(len(image.boxes or ()) for image in reading.train)
    text = (
        f"the fullest image to expect in {epochs} has {contents.fullest_image(settings.batch)} "
        f"boxes at batch {settings.batch}, augmented from images of {labelled} at most; all of "
        "its batch are padded to it"
    )
    return ok("fullest", text)


def _count_boxes(images: Iterable[LabelledImage]) -> int:
    return sum(len(image.boxes or ()) for image in images)


def _name(path: Path, reading: Reading) -> str:
    """The path from the YAML's folder on, where it lies there."""
    folder = reading.yaml.parent
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _at_most(numbers: Sequence[int]) -> int:
    """The least number that 95 of 100 keep to."""
    return sorted(numbers)[math.ceil(0.95 * len(numbers)) - 1]
