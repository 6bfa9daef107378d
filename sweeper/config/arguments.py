"""The training arguments of the installed Ultralytics, read without importing it (or torch)."""

from __future__ import annotations

import ast
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

_KINDS = {
    "CFG_FLOAT_KEYS": "a number",
    "CFG_FRACTION_KEYS": "a number from 0 to 1",
    "CFG_INT_KEYS": "a whole number",
    "CFG_BOOL_KEYS": "true or false",
    "CFG_STR_KEYS": "a word",
}


def fault(name: str, value: Any) -> str | None:
    """What the value of an argument must be, where it is not."""
    kinds, default = argument_kinds(), argument_defaults().get(name)
    if name not in kinds or (value is None and default is None):
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "a number": number and math.isfinite(value),
        "a number from 0 to 1": number and 0 <= value <= 1,
        "a whole number": number and float(value).is_integer(),
        "true or false": isinstance(value, bool),
        "a word": isinstance(value, str),
    }
    return None if fits[kinds[name]] else kinds[name]


@cache
def argument_kinds() -> dict[str, str]:
    """What the value of each argument must be, of those that Ultralytics checks."""
    kinds: dict[str, str] = {}
    for node in ast.parse((package_cfg() / "__init__.py").read_text()).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        (target,) = node.targets
        if isinstance(target, ast.Name) and target.id in _KINDS:
            names = ast.literal_eval(node.value.args[0])
            kinds |= dict.fromkeys(names, _KINDS[target.id])
    return kinds


@cache
def argument_defaults() -> dict[str, Any]:
    """Training arguments and their defaults."""
    defaults: dict[str, Any] = yaml.safe_load((package_cfg() / "default.yaml").read_text())
    return defaults


def package_cfg() -> Path:
    """The folder of Ultralytics' configuration."""
    package = find_spec("ultralytics")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "cfg"
