"""What makes two studies the same: their space and every setting that shapes a trial."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sweeper.memory.alloc_conf import alloc_conf
from sweeper.study.space import MEMORY_KEYS, Space

# How a study is run, not what a trial is.
_NOT_IDENTITY = {"study", "executor", "tracking", "runs_dir", "vram"}
_NOT_IDENTITY |= {"plan", "report", "deploy", "doctor", "memory"}


def identity(
    space: Space, budget_gib: float, source: str, rungs: Sequence[int] = ()
) -> dict[str, Any]:
    """Dotted keys and values; a stored study is resumed only where all are equal.

    ``source``: what the peaks are; a simulated or emulated one decides nothing on a GPU.
    """
    first = space.cells[0].settings
    swept = set(space.dimensions)
    if "memory" in swept:
        swept |= set(MEMORY_KEYS)
    later = {  # studies of before these keys go on where they are as always
        "PYTORCH_ALLOC_CONF": alloc_conf(first.memory.allocator, os.environ),
        "memory.checkpoint": first.memory.checkpoint,
        "memory.val_batch": first.memory.val_batch,
        "memory.freeze": first.memory.freeze,
    }
    common = {
        key: value
        for key, value in _flatten(asdict(first))
        if not _covered(key, swept | _NOT_IDENTITY)
    }
    return {
        **{f"space.{k}": list(v) for k, v in space.dimensions.items()},
        "study.effective_batch": first.study.effective_batch,
        "study.rungs": list(rungs),
        **common,
        "vram.budget_gib": budget_gib,
        "memory": source,
        **{key: value for key, value in later.items() if value not in ("", "none", None, 0)},
    }


def _covered(key: str, names: set[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
