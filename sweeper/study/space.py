"""The search space: sweep overrides resolved into cells, each with its own settings."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from sweeper.config.compose import amp_typed, load_settings, open_conf, read_settings, with_schema
from sweeper.config.settings import STUDY_WIDE, Settings, of_the_trial
from sweeper.config.slips import LISTS, refuse_slips, sweep_typed
from sweeper.errors import SettingsError
from sweeper.numbers import count, listed
from sweeper.trial.levers import LEVERS

MEMORY_KEYS = ("batch", "accumulate", "amp")
SHOWN = 12  # effective batches of a space, where none of them was meant
EFFECTIVE_BATCH = 16  # of a plan, unless plan.effective_batch or study.effective_batch is set

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the space.

    Attributes:
        params: The swept keys and this cell's values, in the order of the command line.
        settings: The configuration composed for it.
        strategy: The memory strategy's name if ``memory`` was chosen, else the cell's label.
    """

    params: tuple[tuple[str, Value], ...]
    settings: Settings = field(compare=False)
    strategy: str

    @property
    def overrides(self) -> tuple[str, ...]:
        """The cell as Hydra overrides."""
        return tuple(f"{k}={as_text(v)}" for k, v in self.params)


@dataclass(frozen=True, slots=True)
class Space:
    """The resolved space.

    Attributes:
        dimensions: Swept keys and their values.
        fixed: Overrides that hold for every cell.
        cells: Every cell that is kept.
    """

    dimensions: dict[str, tuple[Value, ...]]
    fixed: tuple[str, ...]
    cells: tuple[Cell, ...]

    @staticmethod
    def of(settings: Settings) -> Space:
        """The space of one cell."""
        return Space({}, (), (Cell((), settings, settings.label),))

    def describe(self) -> str:
        """One line for people: ``batch=2,4,8 accumulate=1,4 (6 cells)``."""
        cells = count(len(self.cells), "cell")
        return " ".join([*self.swept, f"({cells})"]) if self.swept else cells

    def names(self, key: str) -> bool:
        """Whether a key is swept or fixed, rather than left to conf/."""
        return key in self.dimensions or any(f.split("=")[0] == key for f in self.fixed)

    @property
    def swept(self) -> tuple[str, ...]:
        """The dimensions as Hydra sweep overrides."""
        return tuple(
            f"{k}={','.join(as_text(v) for v in values)}" for k, values in self.dimensions.items()
        )

    @property
    def overrides(self) -> tuple[str, ...]:
        """The whole space as Hydra overrides."""
        return (*self.swept, *self.fixed)

    @property
    def defining(self) -> list[str]:
        """The fixed overrides that change what a trial is, not how the study is run."""
        return sorted(of_the_trial(self.fixed))

    def digest(self) -> str:
        """Six hex digits that differ where the space or a fixed override differs."""
        payload = json.dumps([[c.params for c in self.cells], self.defining])
        return hashlib.sha256(payload.encode()).hexdigest()[:6]


def resolve_space(
    loader: ConfigLoader, config: DictConfig, arguments: list[str], defaults: dict[str, str]
) -> Space:
    """Parse the command line over the default space and compose every cell.

    Args:
        loader: Hydra's, of this run.
        config: The master configuration.
        arguments: Task overrides as typed.
        defaults: ``hydra.sweeper.params``.

    Raises:
        SettingsError: A sweep of a kind that has no cells, or none is left.
    """
    parser = OverridesParser.create(config_loader=loader)
    typed = {o.get_key_element(): o for o in parser.parse_overrides(arguments)}
    base = [f"{k}={v}" for k, v in defaults.items() if _is_open(k, typed)]
    overrides = {o.get_key_element(): o for o in parser.parse_overrides(base)} | typed
    dimensions = {k: _values(o) for k, o in overrides.items() if o.is_sweep_override()}
    for key in dimensions:
        if key.startswith(STUDY_WIDE):
            typed_so = str(overrides[key].input_line)
            hint = f" {sweep_typed(typed_so)}." if key in LISTS else ""
            raise SettingsError(f"{key} holds for the whole study and cannot be swept.{hint}")
    fixed = tuple(str(o.input_line) for o in overrides.values() if not o.is_sweep_override())

    values = {k for k in dimensions if _is_value(k, loader)}
    composed: dict[tuple[tuple[str, Value], ...], tuple[DictConfig, str | None]] = {}

    def compose(params: tuple[tuple[str, Value], ...]) -> Cell:
        """Hydra composes each choice of groups once, which is slow; values are set on top."""
        groups = tuple((k, v) for k, v in params if k not in values)
        if groups not in composed:
            texts = [*fixed, *(f"{k}={as_text(v)}" for k, v in params)]
            whole = loader.load_sweep_config(config, texts)
            chosen = whole.hydra.runtime.choices
            strategy = chosen.get("memory") if "memory" in overrides else None
            composed[groups] = with_schema(whole), strategy
        typed, strategy = composed[groups]
        settings = read_settings(typed, [(k, v) for k, v in params if k in values])
        return Cell(params, settings, strategy or settings.label)

    product = itertools.product(*([(k, v) for v in vs] for k, vs in dimensions.items()))
    composed_cells = [compose(params) for params in product]
    cells = tuple(c for c in composed_cells if _wanted(c.settings))
    if not cells:
        wanted = load_settings(config).study.effective_batch
        given = sorted({c.settings.effective_batch for c in composed_cells})
        raise SettingsError(
            f"study.effective_batch={wanted} leaves no cell: no batch * accumulate of the space "
            f"gives it. It gives {listed([str(n) for n in given], SHOWN)}."
        )
    return Space(dimensions, fixed, cells)


def study_space(overrides: list[str]) -> Space:
    """The space of ``python -m sweeper -m`` with these overrides.

    Raises:
        SettingsError: Hydra refuses an override, or a value cannot work.
    """
    return _space(overrides, _defaults)


def refuse_swept_card(space: Space) -> None:
    """Refuse what a plan may have and a study may not: several cards.

    Raises:
        SettingsError: It is swept.
    """
    if any(key.split(".")[0] == "vram" for key in space.dimensions):
        raise SettingsError(
            "vram holds for the whole study and cannot be swept: one budget decides what fits. "
            "Compare cards with python -m sweeper.plan."
        )


def plan_space(overrides: list[str]) -> Space:
    """The space of ``python -m sweeper.plan``: the study's, with two defaults of its own.

    ``accumulate`` does not vary unless named, or selected by ``study.effective_batch``, as a plan
    finds it; ``data`` is COCO, not the small images of the embedded digits. With ``plan.ladder``
    every lever varies, and the batch over what divides the effective batch.

    Raises:
        SettingsError: Hydra refuses an override, or a value cannot work.
    """
    return _space(overrides, _plan_defaults)


def _space(overrides: list[str], defaults: Callable[[DictConfig], dict[str, str]]) -> Space:
    """The space of these overrides over the defaults of a composed configuration."""
    refuse_slips(overrides)
    with open_conf(overrides) as loader:
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        task = list(config.hydra.overrides.task)
        return resolve_space(loader, config, task, defaults(config))


def _defaults(config: DictConfig) -> dict[str, str]:
    return dict(config.hydra.sweeper.params)


def _plan_defaults(config: DictConfig) -> dict[str, str]:
    defaults = _defaults(config)
    if config.plan.ladder:
        defaults = _ladder_space(wanted_batch(config))
        if any(o.startswith("memory=") for o in config.hydra.overrides.task):
            raise SettingsError(
                "plan.ladder=true combines levers, and memory= names combinations. Leave one of "
                "them out."
            )
    if config.study.effective_batch is None:
        defaults.pop("accumulate", None)
    if config.hydra.runtime.choices.experiment is None:
        defaults["data"] = "coco128"
    return defaults


def wanted_batch(settings: Settings | DictConfig) -> int:
    """Images per optimizer step that a plan is to reach."""
    return named_batch(settings) or EFFECTIVE_BATCH


def named_batch(settings: Settings | DictConfig) -> int | None:
    """The same, where it was named."""
    named: int | None = settings.plan.effective_batch or settings.study.effective_batch
    return named


def _ladder_space(wanted: int) -> dict[str, str]:
    batches = ",".join(str(b) for b in range(1, wanted + 1) if wanted % b == 0)
    levers = {
        f"memory.{name}": ",".join(map(str, values))
        for name, values in LEVERS.items()
        if len(values) > 1
    }
    return {"batch": batches, "accumulate": batches, "amp": "false,true", **levers}


def _is_value(key: str, loader: ConfigLoader) -> bool:
    """Whether a key is a plain value: no group, no addition (``+key``), no package (``a@b``)."""
    return re.fullmatch(r"[\w.]+", key) is not None and not loader.get_group_options(key)


def _is_open(key: str, typed: dict[str, Override]) -> bool:
    """Whether a key of the default space stays in it."""
    of_the_strategy = key in MEMORY_KEYS or key.startswith("memory.")
    return key not in typed and not ("memory" in typed and of_the_strategy)


def _values(override: Override) -> tuple[Value, ...]:
    if not override.is_discrete_sweep():
        raise SettingsError(
            f"{override.input_line} has no cells to enumerate. "
            f"Use {override.get_key_element()}=choice(...) or range(...)."
        )
    typed = map(_typed, override.sweep_iterator())
    values = tuple(amp_typed(v) if override.get_key_element() == "amp" else v for v in typed)
    return tuple(dict.fromkeys(values))


def _typed(value: object) -> Value:
    return value if isinstance(value, bool | int | float) else str(value)


def as_text(value: Value) -> str:
    """A value as one types it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wanted(settings: Settings) -> bool:
    wanted = settings.study.effective_batch
    return wanted is None or settings.effective_batch == wanted
