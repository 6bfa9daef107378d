"""Images that are there more than once: in both splits, or twice in one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

BEGINNING = 4096  # bytes, which most images that differ do not have in common

Group = tuple[list[Path], ...]  # of validation and of training, or of one split alone


def find_copies(val: Iterable[Path], train: Iterable[Path]) -> tuple[tuple[Path, Path], ...]:
    """The images of ``val`` that are in ``train`` too, each with its file there.

    Only files of one size are compared, and read to their end only where they begin alike.
    """
    wanted, known = dict.fromkeys(val), dict.fromkeys(train)
    found = {path: path for path in wanted if path in known}
    alike = _alike(([path for path in wanted if path not in found], list(known)))
    found |= {path: there[0] for here, there in alike for path in here}
    return tuple((path, found[path]) for path in wanted if path in found)


def find_twins(files: Iterable[Path]) -> tuple[tuple[Path, Path], ...]:
    """The files whose content another one had before them, each with that one."""
    alike = _alike((list(dict.fromkeys(files)),))
    return tuple((twin, first) for ((first, *twins),) in alike for twin in twins)


def _alike(files: Group) -> list[Group]:
    """The files of one content, where some are of every split, and more than one."""
    groups = [files]
    for key in (_size, _beginning, _content):
        groups = [part for group in groups for part in _split(group, key)]
    return groups


def _split(group: Group, key: Callable[[Path], object]) -> list[Group]:
    """The files that agree in ``key``."""
    parts: defaultdict[object, Group] = defaultdict(lambda: tuple([] for _ in group))
    for side, paths in enumerate(group):
        for path in paths:
            parts[key(path)][side].append(path)
    return [part for part in parts.values() if all(part) and sum(map(len, part)) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BEGINNING)


def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
