"""The deployment's folder, which appears at once when everything in it is done."""

from __future__ import annotations

import glob
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from sweeper.doctor.places import existing_parent, write_fault
from sweeper.errors import DeployError


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A folder that becomes ``target`` when all went well, and vanishes when not."""
    fault = write_fault(existing_parent(target))
    if fault:
        raise DeployError(f"{target} cannot be written: {fault}. Free space or set runs_dir=PATH.")
    _take_up(target)
    draft = _beside(target, "part", os.getpid())
    draft.mkdir(parents=True)
    try:
        yield draft
        _replace(target, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not any(target.parent.iterdir()):
            target.parent.rmdir()


def _beside(target: Path, what: str, pid: int | str) -> Path:
    """A folder of one process, on a disk that machines may share."""
    return target.with_name(f"{target.name}.{what}-{platform.node()}-{pid}")


def _take_up(target: Path) -> None:
    """Put back the deployment, and remove the drafts, of processes here that were killed."""
    for what in ("old", "part"):
        stem = _beside(target, what, "")
        for left in target.parent.glob(f"{glob.escape(stem.name)}*"):
            pid = left.name.removeprefix(stem.name)
            if not pid.isdecimal() or psutil.pid_exists(int(pid)):
                continue
            if what == "old" and not target.exists():
                left.rename(target)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _replace(target: Path, draft: Path) -> None:
    """Put the draft in place of the old deployment, which is removed last."""
    old = _beside(target, "old", os.getpid())
    if target.exists():
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def tidy(draft: Path) -> None:
    """Keep the models and the logs, not what was only needed to compare."""
    for outputs in (draft / "logs").glob("*.npy"):
        outputs.unlink()
    shutil.rmtree(draft / "logs" / "validation", ignore_errors=True)
