"""The levers on memory besides batch, accumulate and amp, each one entry here."""

from __future__ import annotations

from typing import Any

ALLOCATORS = ("default", "expandable")
CHECKPOINTS = ("none", "backbone", "all")

# Keys under ``memory.``, also fields of a TrialSpec and a MemoryConfig. Their values: the one that
# leaves the lever alone and goes without saying, then the others, if they can be listed, by the
# time that they may cost.
LEVERS: dict[str, tuple[Any, ...]] = {
    "checkpoint": CHECKPOINTS,
    "val_batch": (None,),
    "freeze": (0,),
    "allocator": ALLOCATORS,
}


def pulled(source: object) -> dict[str, Any]:
    """The levers of ``memory.`` settings, a spec or a config, those left alone not among them."""
    values = {name: getattr(source, name) for name in LEVERS}
    return {name: value for name, value in values.items() if value != LEVERS[name][0]}


def in_words(levers: dict[str, Any]) -> str:
    """``checkpoint=all allocator=expandable``; empty where none is pulled."""
    return " ".join(f"{name}={value}" for name, value in levers.items())


def places(source: object) -> tuple[int, ...]:
    """Where each lever stands among its values, 0 left alone: sorts by what it may cost."""
    return tuple(_place(values, getattr(source, name)) for name, values in LEVERS.items())


def _place(values: tuple[Any, ...], value: object) -> int:
    return values.index(value) if value in values else len(values)
