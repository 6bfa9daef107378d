"""The dataset of a study: found, read and checked before the first trial, without torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sweeper.config.arguments import package_cfg
from sweeper.config.settings import DataSettings, DigitsSettings
from sweeper.errors import DataError, SettingsError
from sweeper.script import ScriptError, run_script
from sweeper.training.digits import DIGITS, DigitScenes, write_digits
from sweeper.training.images import check_images
from sweeper.training.labels import check_labels, label_path
from sweeper.trial.record import DatasetFacts

IMAGE_NAME = re.compile(
    r"\.(avif|bmp|dng|heic|heif|jp2|jpe?g|jpeg2000|mpo|png|tiff?|webp)$", re.IGNORECASE
)
FAULTS_SHOWN = 10
DIGEST = 8  # hex digits, as MLflow's own


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
    """

    yaml: Path
    names: tuple[str, ...]
    train_images: int
    val_images: int
    boxes: tuple[int, ...]
    unlabelled: tuple[Path, ...] = ()
    digest: str = ""

    @property
    def facts(self) -> DatasetFacts:
        """What its records say of it."""
        return DatasetFacts(self.digest, self.train_images, sum(self.boxes))

    @property
    def caution(self) -> str:
        """What nobody may have meant; empty where there is nothing."""
        if not self.unlabelled:
            return ""
        images = self.train_images + self.val_images
        return (
            f"{len(self.unlabelled)} of {images} images have no label file, e.g. "
            f"{self.unlabelled[0]}: they are taken for background."
        )


def prepare_dataset(data: DataSettings, runs_dir: Path) -> Dataset:
    """Compose, fetch or locate the dataset, then check it.

    Raises:
        DataError: Listing each fault of the YAML, the folders and the labels.
    """
    if data.digits is not None:
        return _digits(data, data.digits, runs_dir)
    if data.yaml is None:
        raise DataError("data.yaml is not set. Give your data.yaml: data=custom data.yaml=PATH.")
    path = Path(data.yaml).expanduser()
    if not path.is_file():
        shipped_yaml(data.yaml)
        path = fetch(data.yaml)
    dataset = check_dataset(path.resolve(), data.nc)
    return replace(dataset, yaml=_absolute_yaml(dataset.yaml, runs_dir))


def dataset_at_hand(data: DataSettings, runs_dir: Path) -> Dataset | None:
    """The checked dataset if it is composed here or lies on this disk; nothing is downloaded.

    Raises:
        DataError: Its images are here, but it has faults.
    """
    if data.digits is not None:
        return _digits(data, data.digits, runs_dir)
    path = Path(data.yaml or "").expanduser()
    if not path.is_file() or not _splits_exist(path.resolve()):
        return None
    return check_dataset(path.resolve(), data.nc)


def _digits(data: DataSettings, size: DigitsSettings, runs_dir: Path) -> Dataset:
    scenes = DigitScenes(data.imgsz, size.train, size.val, seed=size.seed)
    return check_dataset(write_digits(runs_dir / "data", scenes))


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


def read_class_names(name: str) -> tuple[str, ...]:
    """The classes of a ``data.yaml``, or of a dataset that Ultralytics knows; no image is needed.

    Raises:
        DataError: There is no such file, or it names no classes.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        path = shipped_yaml(name)
    return _class_names(_read_yaml(path), path)


def is_shipped(name: str) -> bool:
    """Whether Ultralytics ships a dataset of this name."""
    try:
        return shipped_yaml(name).is_file()
    except DataError:
        return False


def shipped_yaml(name: str) -> Path:
    """The YAML that Ultralytics ships for a dataset.

    Raises:
        DataError: It knows no such dataset.
    """
    path = package_cfg() / "datasets" / name
    if not path.is_file():
        raise DataError(
            f"data.yaml={name} is neither a file nor a dataset that Ultralytics knows. "
            "Give the path of your data.yaml, e.g. data=custom data.yaml=path/to/data.yaml."
        )
    return path


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
        raise DataError(f"{name} could not be found or downloaded: {error}") from error
    path = Path(content["path"]) / f"sweeper-{name}"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def check_dataset(path: Path, nc: int | None = None) -> Dataset:
    """Read a YOLO-format ``data.yaml`` and everything it points to.

    Args:
        path: The YAML file.
        nc: Number of classes the configuration promises, if it does.

    Raises:
        DataError: Listing each fault found.
    """
    content = _read_yaml(path)
    names = _class_names(content, path)
    if nc is not None and nc != len(names):
        raise DataError(f"data.nc={nc} but {path} names {len(names)} classes.")
    counts: dict[str, int] = {}
    faults: list[str] = []
    boxes: list[int] = [0]
    unlabelled: list[Path] = []
    digest = hashlib.sha256(repr(names).encode())
    for split in ("train", "val"):
        images = list(_images(content, split, path))
        counts[split] = len(images)
        if not images:
            raise DataError(f"{path}: the {split} split has no images ({content[split]}).")
        check_images(images, faults)
        per_image = []
        for image in images:
            if not faults:
                digest.update(f"{image.name} {image.stat().st_size} ".encode())
            per_image.append(check_labels(label_path(image), len(names), faults, digest.update))
        unlabelled += [i for i, n in zip(images, per_image, strict=True) if n is None]
        if not faults and all(n is None for n in per_image):
            raise DataError(
                f"{path}: no image of the {split} split has a label file, "
                f"e.g. {label_path(images[0])} is missing."
            )
        if not faults and not any(per_image):
            raise DataError(f"{path}: no image of the {split} split has a box in its labels.")
        if split == "train":
            boxes = [n or 0 for n in per_image]
    if faults:
        shown = "\n  ".join(faults[:FAULTS_SHOWN])
        more = len(faults) - FAULTS_SHOWN
        rest = f"\n  and {more} more" if more > 0 else ""
        some = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
        raise DataError(f"{path}: {some} in its images and labels:\n  {shown}{rest}")
    return Dataset(
        yaml=path,
        names=names,
        train_images=counts["train"],
        val_images=counts["val"],
        boxes=tuple(boxes),
        unlabelled=tuple(unlabelled),
        digest=digest.hexdigest()[:DIGEST],
    )


def split_images(path: Path, split: str) -> list[Path]:
    """The images of one split of a ``data.yaml``, in the order that Ultralytics reads them."""
    return list(_images(_read_yaml(path), split, path))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"data.yaml={path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"data.yaml={path} is not a YAML mapping with train, val and names.")
    for key in ("train", "val"):
        if not content.get(key):
            raise DataError(f"{path} has no '{key}' key. It names the folder of the images.")
        places = content[key] if isinstance(content[key], list) else [content[key]]
        if not all(isinstance(place, str) for place in places):
            raise DataError(f"{path}: '{key}' must be a path, or a list of paths.")
    if not isinstance(content.get("path", ""), str | None):
        raise DataError(f"{path}: 'path' must be the path of a folder.")
    return content


def _class_names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = content.get("names")
    if names is None and isinstance(content.get("nc"), int):
        return tuple(f"class_{i}" for i in range(content["nc"]))
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DataError(f"{path}: the keys of 'names' must be 0 to {len(names) - 1}.")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path} needs 'names', the classes in order.")
    if not all(isinstance(name, str | int | float) for name in names):
        raise DataError(f"{path}: 'names' must be words, one for each class.")
    if "nc" in content and content["nc"] != len(names):
        raise DataError(f"{path}: nc is {content['nc']} but 'names' has {len(names)} entries.")
    return tuple(str(n) for n in names)


def _images(content: dict[str, Any], split: str, path: Path) -> Iterator[Path]:
    """Image files of a split: folders (recursively) and .txt lists, as Ultralytics reads them."""
    for place in _places(content, split, path):
        if place.is_dir():
            yield from _sorted_images(place.rglob("*"))
        elif place.is_file():
            lines = [s.strip() for s in place.read_text().splitlines() if s.strip()]
            listed = [place.parent / s[2:] if s.startswith("./") else Path(s) for s in lines]
            missing = [p for p in listed if not p.is_file()]
            if missing:
                raise DataError(f"{place} lists {len(missing)} missing images, e.g. {missing[0]}.")
            yield from listed
        else:
            raise DataError(
                f"{path}: '{split}' points to {place}, which does not exist. Give the data set's "
                "folder as an absolute 'path:', or leave 'path:' out where the YAML lies in it."
            )


def _places(content: dict[str, Any], split: str, path: Path) -> Iterator[Path]:
    """The folders and .txt lists of a split, there or not."""
    root = _root(content, path)
    entries = content[split]
    for entry in [entries] if isinstance(entries, str) else entries:
        place = root / entry
        if not place.exists() and str(entry).startswith("../"):
            place = root / str(entry)[3:]
        yield place


def _splits_exist(path: Path) -> bool:
    content = _read_yaml(path)
    places = [place for split in ("train", "val") for place in _places(content, split, path)]
    return all(place.exists() for place in places)


def _root(content: dict[str, Any], path: Path) -> Path:
    """The folder that the splits are relative to: ``path``, or where the YAML lies."""
    root = Path(content.get("path") or path.parent)
    if root.is_absolute() or root.is_dir():
        return root.resolve()
    return path.parent if root == Path(path.parent.name) else path.parent / root


def _absolute_yaml(path: Path, runs_dir: Path) -> Path:
    """A YAML that means the same to Ultralytics, which looks for a relative ``path`` elsewhere."""
    content = _read_yaml(path)
    if "path" not in content or Path(str(content["path"])).is_absolute():
        return path
    content["path"] = str(_root(content, path))
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    copy = runs_dir.resolve() / "data" / f"{path.stem}-{digest}.yaml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def _sorted_images(files: Iterable[Path]) -> list[Path]:
    return sorted(f for f in files if IMAGE_NAME.search(f.name))
