"""What a deployment reads of a command line; anything else it refuses, where it did nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from sweeper.config.settings import DeploySettings, Settings
from sweeper.errors import SettingsError

ALWAYS = ("study.name", "deploy", "runs_dir", "tracking", "report")
FOR_A_FILE = ("data", "train.imgsz")
FOR_A_CARD = ("vram", "executor.slots")


def refuse_unread(overrides: Iterable[str], settings: Settings) -> None:
    """Refuse what a deployment would not read: the winner has the settings of its training.

    Raises:
        SettingsError: An override has no effect.
    """
    read: tuple[str, ...] = ALWAYS
    read += FOR_A_FILE * (settings.deploy.weights is not None)
    read += FOR_A_CARD * settings.vram.emulated
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if any(key == name or key.startswith(f"{name}.") for name in read):
            continue
        own = f"deploy.{key.rpartition('.')[2]}"
        known = own in {f"deploy.{field.name}" for field in fields(DeploySettings)}
        hint = f"Did you mean {own}={value}? " if known else ""
        raise SettingsError(
            f"{override} is not read by sweeper.deploy. {hint}It takes study.name, deploy.*, "
            "runs_dir, tracking.* and report.*; with deploy.weights=PATH also data.* and "
            "train.imgsz, with vram.emulated=true also vram.* and executor.slots."
        )
