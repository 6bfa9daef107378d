"""What makes two studies the same: their space and every setting that shapes a trial."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sweeper.study.space import MEMORY_KEYS, Space, as_text
from sweeper.trial.alloc_conf import alloc_conf
from sweeper.trial.levers import pulled

_SWEPT = "space."  # begins the keys of swept dimensions
_SOURCE = "memory"  # what the peaks are
_PEAKS = "peaks"
_DATA = "data.name"
_UNKNOWN = "not set"
# How a study is run, not what a trial is.
_NOT_IDENTITY = {"study", "executor", "tracking", "runs_dir", "vram"}
_NOT_IDENTITY |= {"plan", "report", "studies", "deploy", "doctor", "memory"}


def new_id() -> str:
    """An id for a study: names are equal where commands are."""
    return uuid.uuid4().hex[:12]


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
    common = {
        key: value
        for key, value in _flatten(asdict(first))
        if not _covered(key, swept | _NOT_IDENTITY)
    }
    return {
        **{f"{_SWEPT}{k}": list(v) for k, v in space.dimensions.items()},
        "study.effective_batch": first.study.effective_batch,
        "study.rungs": list(rungs),
        **common,
        "vram.budget_gib": budget_gib,
        _SOURCE: source,
        **_levers(space),
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two identities, for people: ``batch: 2,4,8 before, 2,4 now``."""
    one, other = _as_typed(before), _as_typed(now)
    keys = [k for k in {**one, **other} if one.get(k) != other.get(k)]
    if _DATA in keys:  # what else is known of a data set follows from which one it is
        keys = [k for k in keys if k in {_DATA, "data.yaml"} or not k.startswith("data.")]
    return [f"{k}: {one.get(k, _UNKNOWN)} before, {other.get(k, _UNKNOWN)} now" for k in keys]


def _as_typed(found: dict[str, Any]) -> dict[str, str]:
    """Keys and values of an identity as one types them; a swept key stands where it is fixed."""
    typed = {_PEAKS if key == _SOURCE else key: value for key, value in found.items()}
    swept = {k.removeprefix(_SWEPT): v for k, v in typed.items() if k.startswith(_SWEPT)}
    fixed = {k: v for k, v in typed.items() if not k.startswith(_SWEPT)}
    return {
        key: ",".join(map(as_text, value)) if key in swept else _or_null(value)
        for key, value in {**swept, **fixed}.items()
    }


def _or_null(value: Any) -> str:
    return "null" if value is None else as_text(value)


def _levers(space: Space) -> dict[str, Any]:
    """The levers that all cells pull: others are swept, or those of a swept strategy.

    Left out where they are neutral: studies from before there were any go on.
    """
    common = set.intersection(*({*pulled(c.settings.memory).items()} for c in space.cells))
    levers = dict(sorted(common))
    conf = alloc_conf(levers.pop("allocator", "default"), os.environ)
    told = {"PYTORCH_ALLOC_CONF": conf} if conf else {}
    return told | {f"memory.{name}": value for name, value in levers.items()}


def _covered(key: str, names: set[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
