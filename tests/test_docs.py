"""The documents say what is true: commands are accepted, targets and links exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.emulator.__main__ import parser
from sweeper.study.space import plan_space, study_space
from tests.conftest import link_traces
from tests.run_docs import DOCUMENTS, ROOT, commands

SWEEPER = [c for c in commands() if "python -m sweeper" in c[1] or c[1].startswith("make ")]
CONSOLE = re.compile(r"```console\n\$ ([^\n]+)\n(.*?)```", re.DOTALL)


def arguments(line: str) -> tuple[str, list[str]]:
    """The module and its arguments, out of whatever surrounds the command."""
    words = shlex.split(line.partition("python -m ")[2].split(";")[0].rstrip("'"))
    return words[0], words[1:]


@pytest.mark.parametrize(("document", "line"), SWEEPER)
def test_a_command_is_accepted(document: str, line: str, tiny_data: Path, tmp_path) -> None:
    line = line.replace("path/to/data.yaml", str(tiny_data))
    if line.startswith("make "):
        target = line.split()[1]
        assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    module, words = arguments(line)
    if "--cfg" in words or "-cd" in words:  # Hydra's own; test_end_to_end runs both
        return
    overrides = [w for w in words if not w.startswith("-")]
    if module == "sweeper.emulator":
        assert parser().parse_args(words)
    elif module == "sweeper.plan":
        assert plan_space(overrides).cells
    elif "-m" in words:
        assert study_space(overrides).cells
    else:
        assert compose_settings(overrides).batch >= 1


def test_there_are_commands_to_check() -> None:
    assert len(SWEEPER) >= 20


@pytest.mark.parametrize(
    ("command", "shown"), CONSOLE.findall((ROOT / "docs/plan.md").read_text())
)
def test_a_plan_prints_what_its_page_shows(
    command: str, shown: str, tmp_path: Path, traces: Path
) -> None:
    link_traces(tmp_path / "runs", traces)
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == ("error:" in shown)
    assert (done.stderr if done.returncode else done.stdout) == shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_and_pictures_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_every_key_of_the_configuration_page_exists() -> None:
    from operator import attrgetter

    settings = compose_settings([])
    text = (ROOT / "docs/configs.md").read_text()
    keys = re.findall(r"`((?:study|tracking|executor)\.[a-z_.]+)", text)
    assert len(keys) > 8
    for key in keys:
        attrgetter(key)(settings)
