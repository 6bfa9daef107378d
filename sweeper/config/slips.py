"""What was typed and cannot be, answered with what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from sweeper.config.arguments import argument_defaults
from sweeper.config.conf_dir import CONF_DIR
from sweeper.config.settings import Settings
from sweeper.errors import SettingsError

_KINDS = {"Integer": "whole number", "Float": "number"}  # by OmegaConf's names
# Of Hydra; what else begins with two dashes was meant for a key.
_OPTIONS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run"),
    *("--multirun", "--shell-completion", "--config-path", "--config-name", "--config-dir"),
    *("--experimental-rerun", "--info"),
)
_NAMED = 3  # choices that may be meant
_COUNTS = {"batch", "accumulate"}
LISTS = {"deploy.formats": "[onnx,openvino]", "study.rungs": "[6,10]"}  # with an example
_FILES = {"data": "data.yaml", "model": "model.file"}  # keys for what no choice of a group is


def refuse_slips(overrides: Iterable[str]) -> None:
    """Refuse ``batch=[2,4]``, which is no sweep, and ``--batch``, which is no option of Hydra.

    Of a group in brackets Hydra would take the last one, and of ``data.yaml`` without
    ``data=custom`` nothing.

    Raises:
        SettingsError: A key has a list, or dashes, or needs another one.
    """
    words = list(overrides)
    shows = next((word for word in words if word in {"--cfg", "-c", "--info", "-i"}), None)
    if shows and {"-m", "--multirun"} & {*words}:
        raise SettingsError(
            f"{shows} shows the configuration of one cell: leave out -m, and give no key several "
            "values."
        )
    for override in words:
        dashed = re.match(r"--[a-z][\w.-]*", override)
        if dashed and not any(option.startswith(dashed[0]) for option in _OPTIONS):
            raise SettingsError(_dashed(override, dashed[0].lstrip("-").replace("-", "_")))
        if listed := re.fullmatch(r"(\w+)=\[(.*)\]", override):
            raise SettingsError(
                f"{override} is a list. Several values are typed without brackets: "
                f"python -m sweeper -m {listed[1]}={listed[2]}"
            )
    own = next((word for word in words if word.startswith("data.yaml=")), None)
    if own and not any(re.match(r"\+?(data|experiment)=", word) for word in words):
        raise SettingsError(f"{own} needs data=custom: without it the digits are trained on.")


def explain_number(error: ValueError, words: Iterable[str]) -> str:
    """In our own words, that a group wants a name and got a number or null: Hydra names no key.

    Raises:
        ValueError: It is another one.
    """
    if str(error).startswith("Config group override"):
        for word in words:
            group, _, choices = word.lstrip("+").partition("=")
            for choice in choices.split(","):
                if group in _groups() and re.fullmatch(r"[\d.]+|null|", choice):
                    return unknown_choice(group, choice, _choices(group))
    raise error


def sweep_typed(override: str) -> str:
    """What to type instead of several values where one is wanted, or a list."""
    key, _, values = override.partition("=")
    if key in LISTS:
        return f"{override} is a list and needs brackets: '{key}=[{values}]'"
    return f"{override} is a sweep: python -m sweeper -m {override}"


def wrong_type(key: str, said: str) -> str:
    """That a key takes another kind of value, by OmegaConf's message; empty for another one."""
    if found := re.match(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", said):
        value, kind = found.groups()
        said = f"{key}={value} is no {_KINDS.get(kind, kind)}."
        ends = re.fullmatch(r"(\d+) ?(?:-|:|\.\.+) ?(\d+)", value)
        size = re.fullmatch(r"(\d+(?:\.\d+)?) ?gi?b?", value, re.IGNORECASE)
        several = value.split() if re.fullmatch(r"\d+( \d+)+", value) else []
        if ends and key in _COUNTS and 0 < int(ends[1]) < int(ends[2]):
            several = _doubled(int(ends[1]), int(ends[2]))
        if several:
            said += f" Several values are typed with commas: {key}={','.join(several)}."
        elif size and key.endswith("_gib"):
            said += f" Type it without a unit: {key}={size[1]}."
        return said
    if found := re.match(r"Value '(.*)' is not a valid bool", said):
        return f"{key}={found[1]} is neither true nor false."
    if "is not a ListConfig" in said:
        example = LISTS.get(key, "[FIRST,SECOND]")
        return f"{key} is a list, also of one, e.g. '{key}={example}'."
    if "is not Optional" in said:
        return f"{key}=null cannot be: it needs a value."
    return ""


def _doubled(first: int, last: int) -> list[str]:
    """Doubled up to the last one: the values that a range of batches may stand for."""
    values = [first]
    while 2 * values[-1] <= last:
        values.append(2 * values[-1])
    return [str(value) for value in dict.fromkeys([*values, last])]


def unknown_choice(group: str, choice: str, options: Iterable[str]) -> str:
    """That a group has no such choice, and which one may be meant."""
    name, known = choice.lower().removesuffix(".pt"), list(options)
    if group == "vram" and (size := re.fullmatch(r"(\d{1,3}(?:\.\d+)?)(?:gi?b?)?", name)):
        cards = [option for option in known if option.endswith(f"_{size[1]}")]
        hint = f" Cards of that name: {', '.join(cards)}." if cards else ""
        return (
            f"vram={choice} is no card of conf/vram. For {size[1]} GiB: vram.budget_gib={size[1]}."
            f"{hint}"
        )
    near = [option for option in known if name and name in option]
    near = near if 0 < len(near) <= _NAMED else difflib.get_close_matches(name, known, n=1)
    if f"{name}.pt" == choice and name in known:
        near = [f"{name} model.pretrained=true"]
    hint = f"Did you mean {' or '.join(f'{group}={word}' for word in near)}? " if near else ""
    said = f"{group}={choice} is not in conf/{group}. {hint}Choose one of: {', '.join(known)}."
    if group == "experiment":
        said += " Or leave it out."
    if group == "vram":
        said += " Or any size: vram.budget_gib=8, less what driver and display take."
    if group in _FILES and name not in {"", "null", "none"}:
        file = choice if Path(choice).suffix else f"{choice}.yaml"
        said += f" Or a file, yours or of Ultralytics: {group}=custom {_FILES[group]}={file}."
    return said


def unreadable(override: str, said: str) -> str:
    """What to do about a word that is no override."""
    if re.fullmatch(r"\+*[\w.@/]+=.*,", override):
        return (
            f"{override} ends with a comma: between values stands a comma without spaces, between "
            "keys a space alone."
        )
    if found := re.fullmatch(r"(\w+)=(\w+(?:;\w+)+)", override):
        return (
            f"{override}: between values stands a comma, {found[1]}={found[2].replace(';', ',')}."
        )
    if "=" not in override or ",," in override:
        return (
            f"{override} is not key=value. Type e.g. batch=2,4 or report.format=html, without "
            "spaces around = or after commas, and with a value on either side."
        )
    return (
        f"{override}: {said}. Put a value with other letters or signs in quotes: 'key=\"value\"'."
    )


def unknown_key(key: str) -> str:
    """That there is no such key, and which one may be meant."""
    if key == "device":
        return (
            "device is no key here: trials take the GPUs that CUDA_VISIBLE_DEVICES shows, e.g. "
            "CUDA_VISIBLE_DEVICES=0 python -m sweeper …, and with an empty one the CPU."
        )
    near = _meant(key)
    if near == [_extra(key)]:
        name = key.rpartition(".")[2]
        return f"{key} is an unknown key. Ultralytics' argument {name} is {_extra(key)}=."
    shows = "python -m sweeper --cfg job shows them all."
    hint = f"Did you mean {' or '.join(near)}?" if near else shows
    extra = " Other arguments of Ultralytics: +train.extra.NAME=." * key.startswith("train.")
    return f"{key} is an unknown key. {hint}{extra}"


def _dashed(typed: str, name: str) -> str:
    """That keys have no dashes, and which one was meant."""
    known = name in {*_keys(), *_groups()}
    meant = [name] if known else _meant(name)
    said = " or ".join(f"{key}=VALUE" for key in meant or ["key"])
    return (
        f"{typed}: keys are typed without dashes, {said}, e.g. report.format=html. "
        "python -m sweeper --help shows the options."
    )


def _meant(key: str) -> list[str]:
    """The keys that may be meant by one that there is not."""
    if near := _ending_with(key):
        return near
    group, name = key.partition(".")[0], key.rpartition(".")[2]
    if f"{group}.{name}" in _keys():
        return [f"{group}.{name}"]
    if own := own_key(name):
        return [own]
    if near := _ending_with(name):
        return near
    if name in argument_defaults():
        return [_extra(key)]
    return difflib.get_close_matches(key, _keys(), n=1)


def own_key(argument: str) -> str | None:
    """The key under which an argument of Ultralytics is set here."""
    known = set(_keys())
    return next((key for key in (argument, f"train.{argument}") if key in known), None)


def _extra(key: str) -> str:
    """Where an argument of Ultralytics goes that has no key of its own."""
    return f"+train.extra.{key.rpartition('.')[2]}"


def _ending_with(name: str) -> list[str]:
    """The keys of some group that are called so."""
    near = [key for key in _keys() if key.endswith(f".{name}")]
    return [f"train.{name}"] if f"train.{name}" in near else near  # Ultralytics' arguments


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def _groups() -> list[str]:
    return [path.name for path in CONF_DIR.iterdir() if path.is_dir() and path.name != "hydra"]


def _keys(group: Any = Settings, prefix: str = "") -> Iterator[str]:
    for name, kind in get_type_hints(group).items():
        yield f"{prefix}{name}"
        if is_dataclass(kind):
            yield from _keys(kind, f"{prefix}{name}.")
