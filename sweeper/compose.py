"""From conf/ and overrides to validated settings. Past this module nobody sees a DictConfig."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from sweeper.errors import SettingsError
from sweeper.settings import Settings
from sweeper.validation import validate

CONF_DIR = Path(__file__).resolve().parent / "conf"
if not CONF_DIR.is_dir():  # a checkout keeps it at the top level
    CONF_DIR = CONF_DIR.parent.parent / "conf"


def register_schema() -> None:
    """Give Hydra the types of every key; ``conf/config.yaml`` lists it as ``schema``."""
    ConfigStore.instance().store(name="schema", node=Settings)


def load_settings(
    config: DictConfig, values: Iterable[tuple[str, bool | int | float | str]] = ()
) -> Settings:
    """The validated settings of a composed configuration, with other values for some keys.

    Raises:
        SettingsError: A value is missing, of a wrong type, or cannot work.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Settings), _without_hydra(config))
        for key, value in values:
            OmegaConf.update(merged, key, value)
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = error.full_key or "the configuration"
        raise SettingsError(f"{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(settings, Settings)
    validate(settings)
    return settings


def compose_settings(overrides: list[str]) -> Settings:
    """Compose conf/ with overrides outside of ``python -m sweeper``.

    Raises:
        SettingsError: Hydra refuses an override, or a value cannot work.
    """
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
        raise SettingsError(_reason(error)) from error


def _reason(error: HydraException) -> str:
    """Hydra's message; of a choice that a group lacks, as it was typed."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        own = " Or your own: model=custom model.file=PATH.yaml." if group == "model" else ""
        known = ", ".join(error.options)
        return f"{group}={choice} is not in conf/{group}. Choose one of: {known}.{own}"
    cause = error.__cause__
    detail = f": {str(cause).splitlines()[0]}" if isinstance(cause, ValidationError) else ""
    return " ".join(str(error).split()) + detail


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
