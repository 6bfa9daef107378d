"""Whether Ultralytics loads the images that were read before the first trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.errors import DataError
from sweeper.numbers import count
from sweeper.training.data_yaml import split_images


def require_images(yaml: Path, split: str, loaded: Sequence[str], read: int) -> None:
    """Refuse another data set than the one that was read.

    Args:
        yaml: Of the data set.
        split: ``train`` or ``val``.
        loaded: The images that Ultralytics loads for it.
        read: How many there were when the study began.

    Raises:
        DataError: It leaves some out, or they have become more or fewer.
    """
    if len(loaded) == read:
        return
    known = set(map(Path, loaded))
    dropped = [path for path in split_images(yaml, split) if path not in known]
    if dropped:
        raise DataError(
            f"Ultralytics leaves out {count(len(dropped), 'image')} of {split}, e.g. "
            f"{dropped[0]}: mend what it leaves out, or take it out of the data set."
        )
    raise DataError(
        f"the data set is not what the study read when it began: {split} had "
        f"{count(read, 'image')} and has {len(loaded):,} now. Bring it back as it was, or give "
        "another study.name."
    )
