"""All that a ``data.yaml`` points to, read once: images, their sizes and boxes, every fault."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import DataError
from sweeper.numbers import count
from sweeper.training.copies import find_copies
from sweeper.training.data_yaml import class_names, images, read_yaml
from sweeper.training.images import Size, read_size
from sweeper.training.labels import Box, Labels, label_path, read_labels
from sweeper.trial.command import doctor_command

FAULTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a split.

    Attributes:
        path: Its file.
        size: Width and height, pixels; None where Pillow cannot tell.
        labels: What its label file holds; None without one, which is background to Ultralytics.
    """

    path: Path
    size: Size | None
    labels: Labels | None

    @property
    def boxes(self) -> tuple[Box, ...] | None:
        """Those of its label file, if it has one."""
        return None if self.labels is None else self.labels.boxes


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found, sound or not.

    Attributes:
        yaml: Absolute path of the YAML.
        names: Class names in class order.
        train: The images of the training split.
        val: Those of the validation split.
        shared: The images of the validation split that are in the training split too, each with
            its file or copy there. Copies are found of what Pillow reads.
        split_faults: What is wrong with the splits as a whole.
        image_faults: What is wrong with image files.
        label_faults: What is wrong with label files, line by line.
    """

    yaml: Path
    names: tuple[str, ...]
    train: tuple[LabelledImage, ...]
    val: tuple[LabelledImage, ...]
    shared: tuple[tuple[Path, Path], ...] = ()
    split_faults: tuple[str, ...] = ()
    image_faults: tuple[str, ...] = ()
    label_faults: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """All of them."""
        return self.split_faults + self.image_faults + self.label_faults

    @property
    def images(self) -> tuple[LabelledImage, ...]:
        """Those of both splits; one that is in both counts once."""
        return tuple({image.path: image for image in (*self.train, *self.val)}.values())

    @property
    def digest(self) -> str:
        """Of classes, names and sizes of image files, and boxes; eight digits, as MLflow's own."""
        found = hashlib.sha256(repr(self.names).encode())
        for image in (*self.train, *self.val):
            size = image.path.stat().st_size
            found.update(os.fsencode(f"{image.path.name} {size} {image.boxes} "))
        return found.hexdigest()[:8]

    def require_soundness(self) -> None:
        """Go on only without faults.

        Raises:
            DataError: Listing them.
        """
        if self.faults:
            more = f"Check again by: {doctor_command(str(self.yaml))}"
            raise DataError(f"{self.yaml}: {list_faults(self.faults)}\n  {more}")


def list_faults(faults: Sequence[str]) -> str:
    """``12 faults:``, then the first ones, one a line."""
    shown = faults[:FAULTS_SHOWN]
    rest = [f"and {len(faults) - len(shown)} more"] * (len(faults) > len(shown))
    return "\n  ".join([f"{count(len(faults), 'fault')}:", *shown, *rest])


def read_dataset(path: Path, nc: int | None = None) -> Reading:
    """Read a YOLO-format ``data.yaml`` and everything it points to.

    Args:
        path: The YAML file.
        nc: Number of classes the configuration promises, if it does.

    Raises:
        DataError: The YAML itself cannot be used.
    """
    content = read_yaml(path)
    names = class_names(content, path)
    if nc is not None and nc != len(names):
        raise DataError(f"data.nc={nc} but {path} names {len(names)} classes.")
    reader = _Reader(path, content, len(names))
    train, val = reader.read_split("train"), reader.read_split("val")
    faults = reader.split_faults, reader.image_faults, reader.label_faults
    val_files, train_files = ([i.path for i in split if i.size] for split in (val, train))
    shared = find_copies(val_files, train_files)
    known = {image.path for image in train}
    shared += tuple((i.path, i.path) for i in val if not i.size and i.path in known)
    return Reading(path, names, train, val, shared, *map(tuple, faults))


class _Reader:
    """Reads splits; a file that is in both is read once."""

    def __init__(self, path: Path, content: dict[str, Any], nc: int) -> None:
        self._path, self._content, self._nc = path, content, nc
        self._known: dict[Path, LabelledImage] = {}
        self.split_faults: list[str] = []
        self.image_faults: list[str] = []
        self.label_faults: list[str] = []

    def read_split(self, split: str) -> tuple[LabelledImage, ...]:
        """Its images, in the order that Ultralytics reads them."""
        try:
            found = tuple(map(self._read, images(self._content, split, self._path)))
        except DataError as error:
            self.split_faults.append(str(error).removeprefix(f"{self._path}: "))
            return ()
        if fault := self._split_fault(split, found):
            self.split_faults.append(fault)
        return found

    def _read(self, image: Path) -> LabelledImage:
        if image not in self._known:
            size = read_size(image, self.image_faults)
            labels = read_labels(label_path(image), self._nc)
            self.label_faults += labels.faults if labels else ()
            self._known[image] = LabelledImage(image, size, labels)
        return self._known[image]

    def _split_fault(self, split: str, found: tuple[LabelledImage, ...]) -> str:
        if not found:
            return (
                f"the {split} split has no images ({self._content[split]}). Give the folder of "
                "the images, or a list of them."
            )
        if all(image.boxes is None for image in found):
            missing = label_path(found[0].path)
            return (
                f"no image of the {split} split has a label file, e.g. {missing} is missing. "
                "Ultralytics replaces the last /images/ of an image's path by /labels/, and where "
                "there is none looks beside the image: move the label files there, or name the "
                "folder of the images 'images'."
            )
        if not self.label_faults and not any(image.boxes for image in found):
            return f"no image of the {split} split has a box in its labels. Draw some."
        return ""
