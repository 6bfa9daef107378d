"""What `pip install .` installs, without the checkout it came from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("sweeper", "conf", "hydra_plugins", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    how = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*PIP, "install", *how, str(source)], check=True)
    return target


def run(installed: Path, *command: str) -> str:
    env = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=installed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_brings_its_configuration_and_the_plugin(installed: Path) -> None:
    code = "import sweeper, hydra_plugins.sweeper_study as p; print(sweeper.__file__, p.__file__)"
    assert run(installed, "-c", code).count(str(installed)) == 2
    told = run(installed, "-m", "sweeper", "experiment=demo", "--cfg", "job")
    assert "name: demo" in told


def test_the_console_command_is_the_module(installed: Path) -> None:
    told = run(installed, str(installed / "bin/sweeper"), "vram=t4", "--cfg", "job")
    assert "card: t4" in told
