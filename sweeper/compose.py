"""From conf/ and overrides to validated settings. Past this module nobody sees a DictConfig."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper.errors import SettingsError
from sweeper.settings import Settings
from sweeper.validation import validate

CONF_DIR = Path(__file__).resolve().parent / "conf"
if not CONF_DIR.is_dir():  # a checkout keeps it at the top level
    CONF_DIR = CONF_DIR.parent.parent / "conf"


def register_schema() -> None:
    """Give Hydra the types of every key; ``conf/config.yaml`` lists it as ``schema``."""
    ConfigStore.instance().store(name="schema", node=Settings)


def load_settings(config: DictConfig) -> Settings:
    """The validated settings of a composed configuration.

    Raises:
        SettingsError: A value is missing, of a wrong type, or cannot work.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Settings), _without_hydra(config))
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
    register_schema()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return load_settings(compose("config", overrides))
    except HydraException as error:
        raise SettingsError(str(error)) from error


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
