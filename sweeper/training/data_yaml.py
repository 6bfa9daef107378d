"""A ``data.yaml`` in Ultralytics' format: its keys, its classes and where its images lie."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sweeper.config.arguments import package_cfg
from sweeper.errors import DataError, first_line
from sweeper.numbers import count

IMAGE_FORMATS = {  # as Ultralytics' IMG_FORMATS
    *("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg"),
    *("mpo", "png", "tif", "tiff", "webp"),
}
SPLITS = ("train", "val")
FILES_NAMED = 3  # of those that may be meant


def read_yaml(path: Path) -> dict[str, Any]:
    """The content, with the keys that a training needs.

    Raises:
        DataError: It cannot be read, or lacks one.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"data.yaml={path} is not in UTF-8. Save it in that encoding.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DataError(
            f"data.yaml={path} cannot be read: line {line}: {error.problem}. Mend that line; YAML "
            "is indented with spaces."
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"data.yaml={path} cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"data.yaml={path} is not a YAML mapping with train, val and names.")
    for key in SPLITS:
        if not content.get(key):
            raise DataError(f"{path} has no '{key}' key. It names the folder of the images.")
        places = content[key] if isinstance(content[key], list) else [content[key]]
        if not all(isinstance(place, str) for place in places):
            raise DataError(f"{path}: '{key}' must be a path, or a list of paths.")
    if not isinstance(content.get("path", ""), str | None):
        raise DataError(f"{path}: 'path' must be the path of a folder.")
    return content


def class_names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The classes in order.

    Raises:
        DataError: They are not named, or not as Ultralytics wants them.
    """
    names, nc = content.get("names"), _count(content, path)
    if names is None and nc is not None:
        return tuple(f"class_{i}" for i in range(nc))
    if isinstance(names, dict):
        numbered = {_whole(key): name for key, name in names.items()}
        if set(numbered) != set(range(len(names))):
            raise DataError(f"{path}: the keys of 'names' must be 0 to {len(names) - 1}.")
        names = [numbered[i] for i in range(len(names))]
    if isinstance(names, str):
        raise DataError(f"{path}: 'names' must be a list but is {names!r}, e.g. [{names}].")
    if not isinstance(names, list) or not names:
        raise DataError(f"{path} needs 'names', the classes in order.")
    if not all(isinstance(name, str | int | float) for name in names):
        raise DataError(f"{path}: 'names' must be words, one for each class.")
    if nc not in (None, len(names)):
        raise DataError(f"{path}: nc is {nc} but 'names' has {len(names)} entries.")
    known: dict[str, int] = {}
    for number, name in enumerate(map(str, names)):
        if (first := known.setdefault(name, number)) != number:
            raise DataError(
                f"{path}: 'names' has {name!r} twice, for classes {first} and {number}. Give each "
                "a name of its own, or make them one class in the labels."
            )
    return tuple(known)


def _count(content: dict[str, Any], path: Path) -> int | None:
    """The number of classes, if it is given."""
    if "nc" not in content:
        return None
    if (nc := _whole(content["nc"])) is None or nc < 1:
        raise DataError(f"{path}: nc must be a whole number from 1 on but is {content['nc']!r}.")
    return nc


def _whole(value: object) -> int | None:
    """The number, also of a word or a fraction without a rest, as Ultralytics takes them."""
    try:
        number = float(value)  # type: ignore[arg-type]
        return int(number) if number.is_integer() else None
    except (TypeError, ValueError):
        return None


def read_class_names(name: str) -> tuple[str, ...]:
    """The classes of a ``data.yaml``, or of a dataset that Ultralytics knows; no image is needed.

    Raises:
        DataError: There is no such file, or it names no classes.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        path = shipped_yaml(name)
    return class_names(read_yaml(path), path)


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
    if Path(name).expanduser().is_dir():
        raise DataError(f"data.yaml={name} is a folder. {files_meant(Path(name).expanduser())}")
    if not path.is_file():
        raise DataError(
            f"data.yaml={name} is neither a file nor a dataset that Ultralytics knows. "
            "Give the path of your data.yaml, e.g. data=custom data.yaml=path/to/data.yaml."
        )
    return path


def files_meant(folder: Path) -> str:
    """Which file of a folder, or of the one above, is meant instead."""
    places = dict.fromkeys((folder, folder.parent))
    files = (path for at in places for path in sorted(at.glob("[!.]*.y*ml")))
    found = [path for path in files if path.is_file()]
    if not found:
        return "Give your data.yaml; neither there nor in the folder above is one."
    return f"Give the file: {' or '.join(map(str, found[:FILES_NAMED]))}."


def split_images(path: Path, split: str) -> list[Path]:
    """The images of one split of a ``data.yaml``, in the order that Ultralytics reads them.

    Raises:
        DataError: The YAML, or a folder or list that it names, cannot be used.
    """
    return images(read_yaml(path), split, path)


def images(content: dict[str, Any], split: str, path: Path) -> list[Path]:
    """Image files of a split: folders (recursively) and .txt lists, as Ultralytics reads them."""
    found: list[str] = []
    for place in _places(content, split, path):
        if place.is_dir():  # links are followed, what is hidden is left out
            found += glob.glob(f"{glob.escape(str(place))}/**/*.*", recursive=True)
        elif place.is_file():
            try:
                found += _listed(place)
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{path}: '{split}' points to {place}, which is neither a folder nor a list "
                    f"of images in UTF-8 ({error}). Give the folder of the images, or such a list."
                ) from error
        else:
            remedy = f"Mend '{split}:', or give the data set's folder as an absolute 'path:'."
            if content.get("path"):
                remedy = (
                    "Give the data set's folder as an absolute 'path:', or leave 'path:' out "
                    "where the YAML lies in it."
                )
            raise DataError(f"{path}: '{split}' points to {place}, which does not exist. {remedy}")
    return [Path(name) for name in sorted(filter(_is_image, found))]


def _listed(place: Path) -> list[str]:
    """The images that a list names, one a line."""
    lines = place.read_text("utf-8-sig").strip().splitlines()
    listed = [f"{place.parent}/{s[2:]}" if s.startswith("./") else s for s in lines]
    missing = [name for name in listed if _is_image(name.strip()) and not os.path.isfile(name)]
    if missing:
        images = count(len(missing), "missing image")
        raise DataError(f"{place} lists {images}, e.g. {missing[0]!r}. Mend the list.")
    return listed


def _is_image(name: str) -> bool:
    return name.rpartition(".")[-1].lower() in IMAGE_FORMATS


def splits_exist(path: Path) -> bool:
    """Whether the folders and lists of all splits are there."""
    content = read_yaml(path)
    places = [place for split in SPLITS for place in _places(content, split, path)]
    return all(place.exists() for place in places)


def absolute_yaml(path: Path, runs_dir: Path) -> Path:
    """A YAML that means the same to Ultralytics, which looks for a relative ``path`` elsewhere."""
    content = read_yaml(path)
    if "path" not in content or Path(str(content["path"])).is_absolute():
        return path
    content["path"] = str(_root(content, path))
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    copy = runs_dir.resolve() / "data" / f"{path.stem}-{digest}.yaml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def _places(content: dict[str, Any], split: str, path: Path) -> Iterator[Path]:
    """The folders and .txt lists of a split, there or not; links resolved, as Ultralytics does."""
    root = _root(content, path)
    entries = content[split]
    for entry in [entries] if isinstance(entries, str) else entries:
        place = root / entry
        if not place.exists() and str(entry).startswith("../"):
            place = root / str(entry)[3:]
        yield Path(os.path.realpath(place))  # unlike resolve(), takes links in a circle


def _root(content: dict[str, Any], path: Path) -> Path:
    """The folder that the splits are relative to: ``path``, or where the YAML lies."""
    root = Path(content.get("path") or path.parent)
    if root.is_absolute() or root.is_dir():
        return Path(os.path.realpath(root))
    return path.parent if root == Path(path.parent.name) else path.parent / root
