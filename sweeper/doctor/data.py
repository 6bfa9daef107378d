"""What a person should know of their data before it is trained on, from one reading of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.errors import DataError, SweeperError
from sweeper.numbers import count
from sweeper.training.contents import read_contents
from sweeper.training.data_yaml import is_shipped
from sweeper.training.dataset import Dataset, locate
from sweeper.training.reading import LabelledImage, Reading, list_faults, read_dataset

NAMED = 3  # images or classes, before the rest is only counted
CLASSES_SHOWN = 10
FINEST_PX = 8  # a cell of YOLO11's finest grid, its stride
SMALL_PX = 32  # below it COCO calls an object small
STRIDE_PX = 32  # train.imgsz is a multiple of it
LEAST_IMGSZ, LARGEST_IMGSZ = 320, 1280  # to suggest
SMALLEST = 0.05  # of the boxes, which a suggested image size may leave too small
MOST = "95 %"  # the others

Sides = NDArray[np.float64]


def check_presence(settings: Settings) -> Finding:
    """Whether there is a dataset at all, without reading it."""
    data = settings.data
    if data.digits is not None:
        return ok("dataset", f"{data.name} is composed here")
    if data.yaml and Path(data.yaml).expanduser().is_file():
        return ok("dataset", f"{data.yaml} is there")
    if data.yaml and is_shipped(data.yaml):
        return ok("dataset", f"{data.yaml} is one that Ultralytics can download")
    if data.yaml and Path(data.yaml).expanduser().is_dir():
        inside = Path(data.yaml) / "data.yaml"
        return failure("dataset", f"data.yaml={data.yaml} is a folder.", f"Give {inside}.")
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


def report(settings: Settings, reading: Reading) -> list[Finding]:
    """Every finding on a dataset, its faults first."""
    found = [_overview(settings, reading), *_faults(reading), *_unlabelled(reading)]
    found += _shared(reading)
    if not any(image.boxes for image in reading.train):
        return found
    found += [_classes(reading), _boxes_per_image(reading)]
    if (sides := _sides(reading.train)).size:
        imgsz = settings.train.imgsz
        found += [_box_sizes(sides, imgsz), _image_sizes(reading, imgsz), _imgsz(sides, imgsz)]
    return found if reading.faults else [*found, _fullest(settings, reading)]


def _overview(settings: Settings, reading: Reading) -> Finding:
    images = f"{len(reading.train):,} + {len(reading.val):,} images"
    boxes = f"{_count_boxes(reading.train):,} + {_count_boxes(reading.val):,} boxes"
    classes = count(len(reading.names), "class", "classes")
    text = f"{settings.data.title}: {images} to train and validate, {boxes}, {classes}"
    return ok("dataset", text)


def _faults(reading: Reading) -> list[Finding]:
    """One finding for each kind, so that many of one hide none of another."""
    kinds = (
        ("dataset", reading.split_faults, "Mend data.yaml, or move the folders."),
        ("images", reading.image_faults, "Replace these files, or take them out."),
        ("labels", reading.label_faults, "Mend these lines."),
    )
    return [failure(name, list_faults(faults), do) for name, faults, do in kinds if faults]


def _unlabelled(reading: Reading) -> list[Finding]:
    images = reading.images
    without = [_name(image.path, reading) for image in images if image.boxes is None]
    if not without:
        return []
    text = (
        f"{len(without):,} of {count(len(images), 'image')} have no label file and are taken for "
        f"background: {_listed(without)}."
    )
    return [warning("labels", text, "Add label files, or leave these images out.")]


def _shared(reading: Reading) -> list[Finding]:
    if not reading.shared:
        return []
    text = (
        f"{reading.shared:,} of {count(len(reading.val), 'validation image')} are trained on too: "
        "mAP@0.5 also tells how well they are remembered."
    )
    return [warning("dataset", text, "Validate on other images, if there are any.")]


def _classes(reading: Reading) -> Finding:
    """Boxes of each class in training, the most frequent first."""
    boxes = Counter(box.number for image in reading.train for box in image.boxes or ())
    ranked = [f"{reading.names[number]} {n:,}" for number, n in boxes.most_common()]
    shown = _listed(ranked, CLASSES_SHOWN if len(ranked) > CLASSES_SHOWN else len(ranked))
    text = f"boxes to train on: {shown}"
    if len(ranked) > CLASSES_SHOWN:
        text += f"; fewest {ranked[-1]}"
    missing = [name for number, name in enumerate(reading.names) if number not in boxes]
    if not missing:
        return ok("classes", text)
    text += f". {len(missing)} of {len(reading.names)} classes have none: {_listed(missing)}."
    return warning("classes", text, "They cannot be learned: add examples, or drop the names.")


def _boxes_per_image(reading: Reading) -> Finding:
    numbers = [len(image.boxes or ()) for image in reading.train]
    most = max(reading.train, key=lambda image: len(image.boxes or ()))
    text = (
        f"in a training image: median {np.median(numbers):g}, 95 % have at most "
        f"{_at_most(numbers)}, most {max(numbers)} ({_name(most.path, reading)}); "
        f"{count(numbers.count(0), 'image')} without any"
    )
    return ok("boxes", text)


def _sides(images: Iterable[LabelledImage]) -> Sides:
    """The sides of squares as large as the boxes, as fractions of the image's longer side."""
    return np.array(
        [
            math.sqrt(box.width * width * box.height * height) / max(width, height)
            for image in images
            if image.size is not None
            for width, height in [image.size]
            for box in image.boxes or ()
        ]
    )


def _box_sizes(sides: Sides, imgsz: int) -> Finding:
    px = sides * imgsz
    text = (
        f"at train.imgsz={imgsz} the median side is {np.median(px):.0f} px; "
        f"{_share(px < SMALL_PX)} of the boxes are small, below {SMALL_PX} px, "
        f"{_share(px < FINEST_PX)} below {FINEST_PX} px"
    )
    return ok("box sizes", text)


def _image_sizes(reading: Reading, imgsz: int) -> Finding:
    longer = np.array([max(image.size) for image in reading.images if image.size is not None])
    text = (
        f"longer side {longer.min()} to {longer.max()} px, median {np.median(longer):.0f}; "
        f"{_share(longer < imgsz)} are enlarged to train.imgsz={imgsz}"
    )
    return ok("image sizes", text)


def _imgsz(sides: Sides, imgsz: int) -> Finding:
    """Whether the boxes are large enough for the finest grid, or larger than they need be."""
    smallest = float(np.quantile(sides, SMALLEST))
    least, ample = (_imgsz_for(px, smallest) for px in (FINEST_PX, SMALL_PX))
    if imgsz < least:
        text = (
            f"{imgsz} is little: {_share(sides * imgsz < FINEST_PX)} of the boxes are smaller "
            f"than a cell of the finest grid, {FINEST_PX} px."
        )
        return warning("imgsz", text, _larger(least, imgsz))
    ample = max(ample, LEAST_IMGSZ)
    if ample < imgsz:
        text = (
            f"{ample} may do: {MOST} of the boxes have {SMALL_PX} px or more there, and "
            f"activations take {(ample / imgsz) ** 2 * 100:.0f} % of their memory at {imgsz}"
        )
        return ok("imgsz", text)
    text = (
        f"{imgsz}, as set, suits the boxes: {MOST} have {smallest * imgsz:.0f} px or more, a "
        f"cell of the finest grid {FINEST_PX} px"
    )
    return ok("imgsz", text)


def _larger(least: int, imgsz: int) -> str:
    """What to do about boxes that are too small."""
    if least <= LARGEST_IMGSZ:
        times = (least / imgsz) ** 2
        return f"Try train.imgsz={least}; activations take {times:.1f} times the memory there."
    larger = f"Try train.imgsz={LARGEST_IMGSZ}, or cut" if imgsz < LARGEST_IMGSZ else "Cut"
    return f"{larger} the images into tiles: {MOST} are larger from {least} px on only."


def _imgsz_for(px: int, smallest: float) -> int:
    """The image size at which a side, a fraction of the image's, has so many pixels."""
    return STRIDE_PX * math.ceil(px / max(smallest, 1e-6) / STRIDE_PX)


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


def _listed(names: Sequence[str], shown: int = NAMED) -> str:
    """``a, b, c and 4 more``."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest:,} more" if rest > 0 else "")


def _at_most(numbers: Sequence[int]) -> int:
    """The least number that 95 of 100 keep to."""
    return sorted(numbers)[math.ceil(0.95 * len(numbers)) - 1]


def _share(which: NDArray[np.bool_]) -> str:
    return f"{100 * which.mean():.0f} %"
