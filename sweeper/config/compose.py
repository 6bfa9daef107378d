"""From conf/ and overrides to validated settings. Past this module nobody sees a DictConfig."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from sweeper.config.conf_dir import CONF_DIR
from sweeper.config.settings import Settings
from sweeper.config.slips import (
    explain_number,
    refuse_slips,
    sweep_typed,
    unknown_choice,
    unknown_key,
    unreadable,
    wrong_type,
)
from sweeper.config.validation import validate
from sweeper.errors import SettingsError
from sweeper.trial.spec import Amp, read_amp


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
        raise SettingsError(unknown_key(str(error.full_key))) from error
    except OmegaConfBaseException as error:
        key = error.full_key or "the configuration"
        said = str(error).splitlines()[0]
        raise SettingsError(wrong_type(key, said) or f"{key}: {said}") from error


def compose_settings(overrides: list[str]) -> Settings:
    """Compose conf/ with overrides outside of ``python -m sweeper``.

    Raises:
        SettingsError: Hydra refuses an override, or a value cannot work.
    """
    refuse_slips(overrides)
    with open_conf(overrides):
        return load_settings(compose("config", overrides))


@contextmanager
def open_conf(typed: list[str]) -> Iterator[ConfigLoader]:
    """Hydra's loader over conf/, outside of ``python -m sweeper``, for these overrides.

    Raises:
        SettingsError: What Hydra refuses within.
    """
    register_schema()
    with hydra_explained(typed), initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@contextmanager
def hydra_explained(typed: list[str]) -> Iterator[None]:
    """What Hydra refuses within of these overrides, in our own words.

    Raises:
        SettingsError: It has refused something.
    """
    try:
        yield
    except HydraException as error:
        raise SettingsError(explain(error)) from error
    except ValueError as error:
        raise SettingsError(explain_number(error, typed)) from error


def explain(error: HydraException) -> str:
    """Hydra's message; in our own words where a key, a choice or ``-m`` is at fault."""
    text = str(error)
    if unknown := re.match(r"Could not override '([\w.]+)'", text):
        return unknown_key(unknown[1])
    if ambiguous := re.match(r"Ambiguous value for argument '([^']+)'", text):
        return sweep_typed(ambiguous[1])
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return unknown_choice(group, choice, error.options)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, " ".join(text.partition(" See http")[0].split()))
    detail = ""
    if isinstance(error.__cause__, ValidationError):
        said = str(error.__cause__).splitlines()[0]
        merged = re.match(r"Error merging override \+*([\w.]+)=", text)
        if merged and (known := wrong_type(merged[1], said)):
            return known
        detail = f": {said}"
    return " ".join(text.split()) + detail


def _refuse_additions(settings: Any, prefix: str = "") -> None:
    """Hydra adds ``+key=value`` to a group without asking its schema."""
    known = {f.name for f in fields(settings)}
    for name, value in vars(settings).items():
        if name not in known:
            raise SettingsError(unknown_key(prefix + name))
        if is_dataclass(value):
            _refuse_additions(value, f"{prefix}{name}.")


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
