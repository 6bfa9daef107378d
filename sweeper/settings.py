"""The typed schema of conf/ and the checks that need no dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper.errors import SettingsError

CONF_DIR = Path(__file__).resolve().parent / "conf"
if not CONF_DIR.is_dir():  # a checkout keeps it at the top level
    CONF_DIR = CONF_DIR.parent.parent / "conf"

OPTIMIZERS = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp", "MuSGD")
SAMPLERS = ("auto", "grid", "tpe", "random")


@dataclass
class DigitsSettings:
    """Size of the embedded dataset."""

    train: int = 144
    val: int = 48
    seed: int = 0


@dataclass
class DataSettings:
    """Group ``data``."""

    name: str = MISSING
    yaml: str | None = None
    imgsz: int = 640
    nc: int | None = None
    digits: DigitsSettings | None = None
    augment: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModelSettings:
    """Group ``model``."""

    name: str = MISSING
    pretrained: bool = False
    file: str | None = None

    @property
    def source(self) -> str:
        """What Ultralytics loads: the given file, or ``.pt``/``.yaml`` of the name."""
        return self.file or f"{self.name}{'.pt' if self.pretrained else '.yaml'}"


@dataclass
class TrainSettings:
    """Group ``train``: Ultralytics arguments under their own names."""

    epochs: int = MISSING
    imgsz: int = MISSING
    optimizer: str = MISSING
    lr0: float = MISSING
    lrf: float = 0.01
    momentum: float = 0.937
    weight_decay: float = 0.0005
    warmup_epochs: float = 3.0
    warmup_bias_lr: float = 0.1
    close_mosaic: int = 10
    patience: int = 100
    save_period: int = -1
    rect: bool = False
    workers: int = 8
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class VramSettings:
    """Group ``vram``."""

    card: str = "auto"
    budget_gib: float | None = None


@dataclass
class StudySettings:
    """Group ``study``."""

    name: str | None = None
    n_trials: int | None = None
    seed: int = 0
    storage: str | None = None
    sampler: str = "auto"
    effective_batch: int | None = None
    trial_timeout_s: float = 0.0
    keep_best: bool = False


@dataclass
class ExecutorSettings:
    """Group ``executor``."""

    name: str = "local"
    slots: int = 1


@dataclass
class TrackingSettings:
    """Group ``tracking``."""

    uri: str | None = None
    experiment: str = "sweeper"


@dataclass
class Settings:
    """One composed configuration. Past this module nobody sees a DictConfig."""

    batch: int = MISSING
    accumulate: int = MISSING
    amp: bool = MISSING
    seed: int = 0
    runs_dir: str = "runs"
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    vram: VramSettings = field(default_factory=VramSettings)
    study: StudySettings = field(default_factory=StudySettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)

    @property
    def effective_batch(self) -> int:
        """Images per optimizer step."""
        return self.batch * self.accumulate

    @property
    def storage_url(self) -> str:
        """Where Optuna keeps the study."""
        return self.study.storage or f"sqlite:///{self.runs_dir}/optuna.db"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps the runs."""
        return self.tracking.uri or f"sqlite:///{self.runs_dir}/mlflow.db"

    def train_args(self) -> dict[str, Any]:
        """Ultralytics arguments beyond those a TrialSpec names itself."""
        named = {"epochs", "imgsz", "optimizer", "extra"}
        own = {k: v for k, v in vars(self.train).items() if k not in named}
        return {**own, **self.data.augment, **self.train.extra}


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


def validate(settings: Settings) -> None:
    """Raise a SettingsError that names the first key whose value cannot work."""
    for key, least in _AT_LEAST.items():
        value = OmegaConf.select(OmegaConf.structured(settings), key)
        if value is not None and value < least:
            raise SettingsError(f"{key} must be at least {least} but got {value}.")
    _one_of("train.optimizer", settings.train.optimizer, OPTIMIZERS)
    _one_of("study.sampler", settings.study.sampler, SAMPLERS)
    if settings.train.rect and settings.accumulate > 1:
        raise SettingsError(
            f"train.rect=true cannot go with accumulate={settings.accumulate}: rectangular "
            "batches are sorted by shape, so an optimizer step would see one shape only. "
            "Set train.rect=false or accumulate=1."
        )
    budget = settings.vram.budget_gib
    if budget is not None and budget <= 0:
        raise SettingsError(
            f"vram.budget_gib must be positive but got {budget:g}. "
            "Set it to your card's memory, e.g. vram=rtx3090."
        )
    if settings.model.name == "custom" and settings.model.file is None:
        raise SettingsError("model.file is not set. Give it: model=custom model.file=PATH.yaml.")
    _check_extra(settings)


_AT_LEAST: dict[str, float] = {
    "batch": 1,
    "accumulate": 1,
    "seed": 0,
    "data.imgsz": 32,
    "data.nc": 1,
    "train.epochs": 1,
    "train.imgsz": 32,
    "train.lr0": 0,
    "train.workers": 0,
    "study.n_trials": 1,
    "study.effective_batch": 1,
    "study.trial_timeout_s": 0,
    "executor.slots": 1,
}


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{key} must be one of {', '.join(allowed)} but got {value}.")


def _check_extra(settings: Settings) -> None:
    """Names under train.extra and data.augment must be Ultralytics arguments not set elsewhere."""
    taken = {"batch", "nbs", "amp", "accumulate", "model", "data", "device", "seed", "project"}
    taken |= {"name", "plots", "save", "resume", "time", *vars(settings.train)}
    for group, names in (
        ("train.extra", settings.train.extra),
        ("data.augment", settings.data.augment),
    ):
        for name in names:
            if name in taken:
                raise SettingsError(f"{group}.{name} cannot be set here: it has a key of its own.")
            if name not in ultralytics_defaults():
                raise SettingsError(f"{group}.{name} is no argument of Ultralytics.")


def ultralytics_defaults() -> dict[str, Any]:
    """Ultralytics' training arguments and defaults, read without importing it (or torch)."""
    package = find_spec("ultralytics")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "cfg" / "default.yaml"
    defaults: dict[str, Any] = yaml.safe_load(path.read_text())
    return defaults
