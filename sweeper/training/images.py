"""Image files that Ultralytics would drop, restore or wait for, once a trial has begun."""

from __future__ import annotations

import stat
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sweeper.training.data_yaml import IMAGE_FORMATS

LEAST_SIDE = 10  # pixels, as Ultralytics' check_image
JPEG_END = b"\xff\xd9"
PLUGINS = (".heic", ".heif", ".avif")  # Ultralytics installs what reads them when it needs it

Size = tuple[int, int]  # width and height, pixels


def read_size(path: Path, faults: list[str]) -> Size | None:
    """The size of an image, None where Pillow cannot tell; what is wrong goes to ``faults``.

    Nothing is decoded but a JPEG without its end. Of a PNG all checksums are read, as Ultralytics
    does, which takes a third of a millisecond at 700 kB; of others the header and the end.
    """
    try:
        fault, size = _examine(path)
    except (UnidentifiedImageError, ImportError):  # Ultralytics, once imported, wants a plugin
        fault, size = "is not an image that Pillow knows", None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        fault, size = f"cannot be read: {error}", None
    if fault:
        faults.append(f"{path} {fault}")
    return size


def _examine(path: Path) -> tuple[str, Size | None]:
    """What is wrong, else empty, and the size."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
        return "is not a file", None
    if not found.st_size:
        return "is empty", None
    if path.suffix.lower() in PLUGINS:
        return "", None
    with Image.open(path) as image:
        width, height = image.size
        known = str(image.format).lower() in {*IMAGE_FORMATS, "jpeg2000"}
        if image.format == "JPEG" and not _ends_with(path, JPEG_END):
            image.load()  # what follows the end of a whole one does not matter
        else:
            image.verify()
    if not known:
        return f"is a {image.format} file, which Ultralytics does not train on", (width, height)
    if min(width, height) < LEAST_SIDE:
        fault = f"has {width} x {height} pixels; {LEAST_SIDE} a side are the least"
        return fault, (width, height)
    return "", (width, height)


def _ends_with(path: Path, end: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(-len(end), 2)
        return file.read() == end
