"""Which arguments of Ultralytics may be given under ``train.extra`` and ``data.augment``."""

from __future__ import annotations

from typing import Any

from sweeper.config.arguments import argument_defaults, fault
from sweeper.config.settings import Settings
from sweeper.config.slips import own_key
from sweeper.errors import SettingsError
from sweeper.meant import meant

# A trial sets these itself.
TAKEN = {"batch", "nbs", "amp", "accumulate", "model", "data", "device", "seed", "project", "name"}
TAKEN |= {"plots", "save", "resume", "time", "task", "mode", "val", "exist_ok", "cfg"}
UNCOUNTED = {
    "fraction": "it shrinks the data set, and with it a batch that is larger",
    "multi_scale": "every batch then has another image size",
    "compile": "compiled kernels keep other activations than those that are counted",
}


def check_extra(settings: Settings) -> None:
    """Raise a SettingsError that names the first argument that cannot be given there."""
    taken = TAKEN | vars(settings.train).keys()
    for name, value in settings.train.extra.items():
        _check("train.extra", name, value, taken)
    for name, value in settings.data.augment.items():
        _check("data.augment", name, value, taken)


def _check(group: str, name: str, value: Any, taken: set[str]) -> None:
    if name in UNCOUNTED:
        raise SettingsError(
            f"{group}.{name} cannot be set: {UNCOUNTED[name]}, so the memory of a cell "
            "would not be that of its batch and train.imgsz."
        )
    if name in taken:
        key = own_key(name)
        why = f"it is {key}=" if key else "every trial sets it itself"
        raise SettingsError(f"{group}.{name} cannot be set here: {why}.")
    if name not in argument_defaults():
        hint = meant(name, argument_defaults().keys() - taken, f"{group}.")
        raise SettingsError(f"{group}.{name} is not an argument of Ultralytics.{hint}")
    if wanted := fault(name, value):
        raise SettingsError(f"{group}.{name} must be {wanted} but got {value}.")
