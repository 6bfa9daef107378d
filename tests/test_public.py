"""What is public is what `sweeper.__all__` lists, and the notebook page needs nothing else."""

import ast
import re
from pathlib import Path

import pytest

import sweeper

PAGE = Path(__file__).parent.parent / "docs" / "jupyter.md"


def imports_of_the_page() -> list[tuple[str, str]]:
    """Module and name of every import in the page's Python blocks; empty names for modules."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                found += [(node.module or "", alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                found += [(alias.name, "") for alias in node.names]
    return found


def test_all_is_exactly_what_is_public() -> None:
    assert dir(sweeper) == sorted(sweeper.__all__)
    assert set(sweeper.__all__) == set(sweeper._HOMES)


@pytest.mark.parametrize("name", sweeper.__all__)
def test_every_public_name_is_there_and_described(name: str) -> None:
    assert getattr(sweeper, name).__doc__


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sweeper.nothing


def test_the_notebook_page_imports_only_what_is_public() -> None:
    used = imports_of_the_page()
    assert ("sweeper", "load_study") in used
    assert {name for module, name in used if module == "sweeper"} <= set(sweeper.__all__)
    assert not [module for module, _ in used if module.startswith("sweeper.")]
