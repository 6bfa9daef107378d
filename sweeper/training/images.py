"""Image files that Ultralytics would drop, restore or wait for, once a trial has begun."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

LEAST_SIDE = 10  # pixels, as Ultralytics' check_image
JPEG_END = b"\xff\xd9"
PLUGINS = (".heic", ".heif", ".avif")  # Ultralytics installs what reads them when it needs it


def check_images(paths: Iterable[Path], faults: list[str]) -> None:
    """Append what is wrong with image files; of most only the header and the end are read."""
    for path in paths:
        if fault := _fault(path):
            faults.append(f"{path} {fault}")


def _fault(path: Path) -> str | None:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            return "is not a file"
        if not found.st_size:
            return "is empty"
        if path.suffix.lower() in PLUGINS:
            return None
        with Image.open(path) as image:
            sides = image.size
            if image.format == "JPEG" and not _ends_with(path, JPEG_END):
                image.load()  # what follows the end of a whole one does not matter
        if min(sides) < LEAST_SIDE:
            return f"has {sides[0]} x {sides[1]} pixels; {LEAST_SIDE} a side are the least"
    except (UnidentifiedImageError, ImportError):  # Ultralytics, once imported, wants a plugin
        return "is not an image that Pillow knows"
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return f"cannot be read: {error}"
    return None


def _ends_with(path: Path, end: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(-len(end), 2)
        return file.read() == end
