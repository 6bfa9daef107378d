"""From conf/ and overrides to validated settings. Past this module nobody sees a DictConfig."""

from __future__ import annotations

import copy
import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from sweeper.config.arguments import argument_defaults
from sweeper.config.conf_dir import CONF_DIR
from sweeper.config.settings import Settings
from sweeper.config.validation import validate
from sweeper.errors import SettingsError
from sweeper.trial.spec import Amp, read_amp

_FILES = {"data": "data.yaml", "model": "model.file"}  # keys for what no choice of a group is


def register_schema() -> None:
    """Give Hydra the types of every key; ``conf/config.yaml`` lists it as ``schema``."""
    ConfigStore.instance().store(name="schema", node=Settings)


def load_settings(config: DictConfig) -> Settings:
    """The validated settings of a composed configuration.

    Raises:
        SettingsError: A value is missing, of a wrong type, or cannot work.
    """
    return read_settings(with_schema(config), [])


def with_schema(config: DictConfig) -> DictConfig:
    """A composed configuration under the types of every key; for many `read_settings`.

    Raises:
        SettingsError: A value is of a wrong type.
    """
    with _naming_the_key():
        typed = OmegaConf.merge(OmegaConf.structured(Settings), _without_hydra(config))
    assert isinstance(typed, DictConfig)
    return typed


def read_settings(
    typed: DictConfig, values: Iterable[tuple[str, bool | int | float | str]]
) -> Settings:
    """The validated settings of a configuration under the schema, with other values for some keys.

    Raises:
        SettingsError: A value is missing, of a wrong type, or cannot work.
    """
    with _naming_the_key():
        changed = copy.deepcopy(typed)
        for key, value in values:
            OmegaConf.update(changed, key, value)
        settings = OmegaConf.to_object(changed)
    assert isinstance(settings, Settings)
    settings.amp = amp_typed(settings.amp)
    _refuse_additions(settings)
    validate(settings)
    return settings


def amp_typed(value: object) -> Amp:
    """The amp that was typed, in its one form.

    Raises:
        SettingsError: It is none.
    """
    try:
        return read_amp(value)
    except ValueError as error:
        raise SettingsError(str(error)) from error


@contextmanager
def _naming_the_key() -> Iterator[None]:
    try:
        yield
    except ConfigKeyError as error:
        raise SettingsError(_unknown_key(str(error.full_key))) from error
    except OmegaConfBaseException as error:
        key = error.full_key or "the configuration"
        raise SettingsError(f"{key}: {str(error).splitlines()[0]}") from error


def compose_settings(overrides: list[str]) -> Settings:
    """Compose conf/ with overrides outside of ``python -m sweeper``.

    Raises:
        SettingsError: Hydra refuses an override, or a value cannot work.
    """
    refuse_slips(overrides)
    with open_conf():
        return load_settings(compose("config", overrides))


@contextmanager
def open_conf() -> Iterator[ConfigLoader]:
    """Hydra's loader over conf/, outside of ``python -m sweeper``.

    Raises:
        SettingsError: What Hydra refuses within.
    """
    register_schema()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    except HydraException as error:
        raise SettingsError(explain(error)) from error
    except ValueError as error:
        raise SettingsError(explain_number(error, sys.argv[1:])) from error


def explain_number(error: ValueError, words: Iterable[str]) -> str:
    """In our own words, that a number was typed where a group wants a name: Hydra names no key.

    Raises:
        ValueError: It is another one.
    """
    typed = next((w for w in words if re.fullmatch(rf"({'|'.join(_groups())})=[\d.,]+", w)), None)
    if typed is None or not str(error).startswith("Config group override"):
        raise error
    group, _, choice = typed.partition("=")
    options = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    size = " For a card of so many GiB: vram.budget_gib=8." if group == "vram" else ""
    return _unknown_choice(group, choice, options) + size


def _unknown_choice(group: str, choice: str, options: Iterable[str]) -> str:
    name, known = choice.lower().removesuffix(".pt"), list(options)
    near = [option for option in known if name in option]
    near = near or difflib.get_close_matches(name, known, n=1)
    meant = f"{name} model.pretrained=true" if f"{name}.pt" == choice and name in known else ""
    hint = f"Did you mean {group}={meant or near[0]}? " if near else ""
    said = f"{group}={choice} is not in conf/{group}. {hint}Choose one of: {', '.join(known)}."
    if group in _FILES:
        file = choice if Path(choice).suffix else f"{choice}.yaml"
        said += f" Or a file, yours or of Ultralytics: {group}=custom {_FILES[group]}={file}."
    return said


def refuse_slips(overrides: Iterable[str]) -> None:
    """Refuse ``batch=[2,4]``, which is no sweep, and ``--batch``, which is no option of Hydra.

    Of a group in brackets Hydra would take the last one.

    Raises:
        SettingsError: A key has a list, or dashes.
    """
    for override in overrides:
        dashed = re.match(r"--([\w.]+)", override)
        if dashed and dashed[1] in (*_known_keys(), *_groups()):
            raise SettingsError(
                f"{override}: keys are typed without dashes, {dashed[1]}=VALUE. "
                "python -m sweeper --help shows the options."
            )
        if listed := re.fullmatch(r"(\w+)=\[(.*)\]", override):
            raise SettingsError(
                f"{override} is a list. Several values are typed without brackets, "
                f"{listed[1]}={listed[2]}, and python -m sweeper takes them with -m only."
            )


def explain(error: HydraException) -> str:
    """Hydra's message; in our own words where a key, a choice or ``-m`` is at fault."""
    text = str(error)
    if unknown := re.match(r"Could not override '([\w.]+)'", text):
        return _unknown_key(unknown[1])
    if ambiguous := re.match(r"Ambiguous value for argument '([^']+)'", text):
        return f"{ambiguous[1]} is a sweep: python -m sweeper -m {ambiguous[1]}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return _unknown_choice(group, choice, error.options)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, " ".join(text.partition(" See http")[0].split()))
    cause = error.__cause__
    detail = f": {str(cause).splitlines()[0]}" if isinstance(cause, ValidationError) else ""
    return " ".join(str(error).split()) + detail


def _unreadable(override: str, said: str) -> str:
    """What to do about a word that is no override."""
    if "=" not in override or override.endswith(","):
        return (
            f"{override} is not key=value. Type e.g. batch=2,4 or report.format=html, without "
            "spaces around = or after commas."
        )
    return (
        f"{override}: {said}. Put a value with other letters or signs in quotes: 'key=\"value\"'."
    )


def _refuse_additions(settings: Any, prefix: str = "") -> None:
    """Hydra adds ``+key=value`` to a group without asking its schema."""
    known = {f.name for f in fields(settings)}
    for name, value in vars(settings).items():
        if name not in known:
            raise SettingsError(_unknown_key(prefix + name))
        if is_dataclass(value):
            _refuse_additions(value, f"{prefix}{name}.")


def _unknown_key(key: str) -> str:
    if key == "device":
        return (
            "device is no key here: trials take the GPUs that CUDA_VISIBLE_DEVICES shows, e.g. "
            "CUDA_VISIBLE_DEVICES=0 python -m sweeper …, and with an empty one the CPU."
        )
    known = _known_keys()
    near = [k for k in known if k.endswith(f".{key}")]
    if f"train.{key}" in near:  # Ultralytics' arguments
        near = [f"train.{key}"]
    name = key.rpartition(".")[2]
    if not near and name in argument_defaults():
        return f"{key} is an unknown key. Ultralytics' argument {name} is +train.extra.{name}=."
    near = near or difflib.get_close_matches(key, known, n=1)
    shows = "python -m sweeper --cfg job shows them all."
    hint = f"Did you mean {' or '.join(near)}?" if near else shows
    extra = " Other arguments of Ultralytics: +train.extra.NAME=." * key.startswith("train.")
    return f"{key} is an unknown key. {hint}{extra}"


def _groups() -> list[str]:
    return [path.name for path in CONF_DIR.iterdir() if path.is_dir()]


def _known_keys() -> list[str]:
    return list(_keys(OmegaConf.to_container(OmegaConf.structured(Settings))))


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
