"""Images of one split that lie in the other as well, under their own name or another."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

BEGINNING = 4096  # bytes, which most images that differ do not have in common

Group = tuple[list[Path], list[Path]]  # of validation and of training


def find_copies(val: Iterable[Path], train: Iterable[Path]) -> tuple[tuple[Path, Path], ...]:
    """The images of ``val`` that are in ``train`` too, each with its file there.

    Only files of one size are compared, and read to their end only where they begin alike.
    """
    wanted, known = dict.fromkeys(val), dict.fromkeys(train)
    found = {path: path for path in wanted if path in known}
    groups: list[Group] = [([path for path in wanted if path not in found], list(known))]
    for key in (_size, _beginning, _content):
        groups = [part for group in groups for part in _split(group, key)]
    found |= {path: there[0] for here, there in groups for path in here}
    return tuple((path, found[path]) for path in wanted if path in found)


def _split(group: Group, key: Callable[[Path], object]) -> list[Group]:
    """The files that agree in ``key``, where some are of either split."""
    parts: defaultdict[object, Group] = defaultdict(lambda: ([], []))
    for side, paths in enumerate(group):
        for path in paths:
            parts[key(path)][side].append(path)
    return [part for part in parts.values() if all(part)]


def _size(path: Path) -> int:
    return path.stat().st_size


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BEGINNING)


def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
