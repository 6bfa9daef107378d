"""The documents say what is true: commands are accepted, targets and links exist."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.types import RunMode

from sweeper.compose import compose_settings, open_conf
from sweeper.search.space import plan_space, resolve_space

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(?:bash|console)\n(.*?)```", re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(document, command) of every shell line; continued lines are joined, comments dropped."""
    found = []
    for document in DOCUMENTS:
        for block in BLOCK.findall(document.read_text()):
            joined = block.replace("\\\n", " ")
            for line in joined.splitlines():
                line = line.removeprefix("$ ").split("  #")[0].split("   #")[0].strip()
                if "python -m sweeper" in line or line.startswith("make "):
                    found.append((document.name, line))
    return found


def arguments(line: str) -> tuple[str, list[str]]:
    """The module and its arguments, out of whatever surrounds the command."""
    words = shlex.split(line.partition("python -m ")[2].split(";")[0].rstrip("'"))
    return words[0], words[1:]


@pytest.mark.parametrize(("document", "line"), commands())
def test_a_command_is_accepted(document: str, line: str, tiny_data: Path, tmp_path) -> None:
    line = line.replace("path/to/data.yaml", str(tiny_data))
    if line.startswith("make "):
        target = line.split()[1]
        assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    module, words = arguments(line)
    if "-cd" in words:  # a folder that the lines before it make; test_end_to_end runs such a one
        return
    overrides = [w for w in words if not w.startswith("-")]
    if module == "sweeper.plan":
        assert plan_space(overrides).cells
    elif "-m" in words:
        with open_conf() as loader:
            config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
            params = dict(config.hydra.sweeper.params)
            assert resolve_space(loader, config, overrides, params).cells
    else:
        assert compose_settings(overrides).batch >= 1


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 15


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
