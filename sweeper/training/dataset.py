"""The dataset of a study: found, read and checked before the first trial, without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from sweeper.config.settings import DataSettings, DigitsSettings
from sweeper.errors import DataError, SettingsError
from sweeper.numbers import count
from sweeper.script import ScriptError, run_script
from sweeper.training.data_yaml import (
    absolute_yaml,
    read_class_names,
    shipped_yaml,
    splits_exist,
)
from sweeper.training.digits import DIGITS, DigitScenes, write_digits
from sweeper.training.reading import Reading, read_dataset
from sweeper.trial.spec import DatasetFacts


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked detection dataset.

    Attributes:
        yaml: Absolute path of its YAML.
        names: Class names in class order.
        train_images: Images of the training split.
        val_images: Images of the validation split.
        boxes: Boxes of each image of the training split, in the order of `split_images`.
        unlabelled: Images without a label file, of both splits: background to Ultralytics.
        digest: Of its classes, the names and sizes of its images, and its labels.
        shared: Images of the validation split that are in the training split too, or a copy is.
    """

    yaml: Path
    names: tuple[str, ...]
    train_images: int
    val_images: int
    boxes: tuple[int, ...]
    unlabelled: tuple[Path, ...] = ()
    digest: str = ""
    shared: int = 0

    @property
    def facts(self) -> DatasetFacts:
        """What its records say of it."""
        train, val = self.train_images, self.val_images
        more = val, len(self.unlabelled), self.shared
        return DatasetFacts(self.digest, train, sum(self.boxes), *more)

    @classmethod
    def of(cls, reading: Reading) -> Dataset:
        """What a study keeps of what was read.

        Raises:
            DataError: Listing each fault found.
        """
        reading.require_soundness()
        train, val = reading.train, reading.val
        boxes = tuple(len(image.boxes or ()) for image in train)
        unlabelled = tuple(image.path for image in reading.images if image.boxes is None)
        more = boxes, unlabelled, reading.digest, len(reading.shared)
        return cls(reading.yaml, reading.names, len(train), len(val), *more)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What nobody may have meant."""
        found = []
        if self.unlabelled:
            found.append(
                f"without a label file: {count(len(self.unlabelled), 'image')}, e.g. "
                f"{self.unlabelled[0]}, taken for background."
            )
        if self.shared:
            found.append(
                f"{self.shared} of {self.val_images} validation images are trained on too: "
                "mAP@0.5 also tells how well they are remembered."
            )
        return tuple(found)


def prepare_dataset(data: DataSettings, runs_dir: Path) -> Dataset:
    """Compose, fetch or locate the dataset, then check it.

    Raises:
        DataError: Listing each fault of the YAML, the folders and the labels.
    """
    dataset = check_dataset(locate(data, runs_dir), data.nc)
    return replace(dataset, yaml=absolute_yaml(dataset.yaml, runs_dir))


def locate(data: DataSettings, runs_dir: Path) -> Path:
    """The YAML of the dataset, which is composed, fetched or found.

    Raises:
        DataError: There is none.
    """
    if data.digits is not None:
        return _write_digits(data, data.digits, runs_dir)
    if data.yaml is None:
        raise DataError("data.yaml is not set. Give your data.yaml: data=custom data.yaml=PATH.")
    path = Path(data.yaml).expanduser()
    if not path.is_file():
        shipped_yaml(data.yaml)
        path = fetch(data.yaml)
    return path.resolve()


def dataset_at_hand(data: DataSettings, runs_dir: Path) -> Dataset | None:
    """The checked dataset if it is composed here or lies on this disk; nothing is downloaded.

    Raises:
        DataError: Its images are here, but it has faults.
    """
    if data.digits is not None:
        return check_dataset(_write_digits(data, data.digits, runs_dir))
    path = Path(data.yaml or "").expanduser()
    if not path.is_file() or not splits_exist(path.resolve()):
        return None
    return check_dataset(path.resolve(), data.nc)


def check_dataset(path: Path, nc: int | None = None) -> Dataset:
    """Read a YOLO-format ``data.yaml`` and everything it points to.

    Args:
        path: The YAML file.
        nc: Number of classes the configuration promises, if it does.

    Raises:
        DataError: Listing each fault found.
    """
    return Dataset.of(read_dataset(path, nc))


def count_classes(data: DataSettings) -> int:
    """The number of classes, with no image read; ``data.nc`` where the YAML is not at hand.

    Raises:
        SettingsError: Neither ``data.yaml`` nor ``data.nc`` is set.
        DataError: There is no such file, or the two do not agree.
    """
    if data.digits is not None:
        return DIGITS
    if data.yaml is None and data.nc is None:
        raise SettingsError(
            "data.nc is not set. Give the number of classes, e.g. data.nc=80, or the data set: "
            "data=custom data.yaml=PATH."
        )
    if data.yaml is None or (data.nc is not None and not Path(data.yaml).expanduser().is_file()):
        assert data.nc is not None
        return data.nc
    found = len(read_class_names(data.yaml))
    if data.nc not in (None, found):
        raise DataError(f"data.nc={data.nc} but {data.yaml} names {found} classes.")
    return found


def fetch(name: str) -> Path:
    """Let Ultralytics download a dataset of its own, in a process of its own.

    Returns:
        A YAML with absolute paths beside the downloaded data.

    Raises:
        DataError: It could not be found or downloaded.
    """
    script = (
        "import json, sys\n"
        "from ultralytics.data.utils import check_det_dataset\n"
        "d = check_det_dataset(sys.argv[1])\n"
        "keys = ('path', 'train', 'val', 'names')\n"
        "print('\\n' + json.dumps({k: d[k] for k in keys}, default=str))\n"
    )
    try:
        content = run_script(script, name)
    except ScriptError as error:
        raise DataError(
            f"{name} could not be found or downloaded: {str(error).rstrip('.')}. Download it "
            "elsewhere, and name its folder by a YAML of your own: data=custom data.yaml=PATH."
        ) from error
    path = Path(content["path"]) / f"sweeper-{name}"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _write_digits(data: DataSettings, size: DigitsSettings, runs_dir: Path) -> Path:
    scenes = DigitScenes(data.imgsz, size.train, size.val, seed=size.seed)
    return write_digits(runs_dir / "data", scenes)
