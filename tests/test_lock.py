"""`pip install -c requirements.lock .` gets one version of each dependency, on every Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Exporters need older releases of what others need: environments of their own.
EXTRAS = [v for k, v in PROJECT["optional-dependencies"].items() if k not in {"ncnn", "litert"}]
WANTED = [Requirement(text) for texts in (PROJECT["dependencies"], *EXTRAS) for text in texts]
PYTHONS = [
    version
    for version in (f"3.{minor}" for minor in range(30))
    if SpecifierSet(PROJECT["requires-python"]).contains(version)
]


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_has_one_version_and_it_is_in_range(python: str) -> None:
    there = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    pins: dict[str, str] = {}
    for pin in locked():
        if pin.marker is None or pin.marker.evaluate(there):
            name = canonicalize_name(pin.name)
            assert name not in pins, f"{name} is locked twice"
            pins[name] = str(pin.specifier).removeprefix("==")
    lacking = [
        str(need) for need in WANTED
        if not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"))
    ]  # fmt: skip
    assert not lacking, f"make lock: {lacking}"


def test_nothing_in_the_lock_says_where_it_came_from() -> None:
    for pin in locked():
        assert pin.url is None and [s.operator for s in pin.specifier] == ["=="], pin


def test_every_python_that_is_allowed_is_listed_and_tried() -> None:
    told = [text.split(" :: ")[-1] for text in PROJECT["classifiers"] if ":: Python ::" in text]
    assert told == PYTHONS
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == PYTHONS
