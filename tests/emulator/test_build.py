"""Building: once, and with a clear word where something is missing."""

import sys
from pathlib import Path

import pytest

from sweeper.emulator import build as module
from sweeper.emulator.__main__ import parse_card
from sweeper.emulator.build import SOURCES, build
from sweeper.emulator.machine import Card, Machine
from sweeper.emulator.toolchain import find_compilers, find_headers, find_torch
from sweeper.errors import EmulatorError


def test_a_second_build_does_nothing(card_server, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in card_server.libraries.rglob("*")}
    assert build(print) == card_server.libraries and not capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in card_server.libraries.rglob("*")} == before


def test_other_sources_are_another_build(tmp_path: Path, monkeypatch) -> None:
    before = module._digest()
    for source in SOURCES.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(module, "SOURCES", tmp_path)
    assert module._digest() == before
    (tmp_path / "nvml.c").write_text("/* changed */")
    assert module._digest() != before


def fake_torch(folder: Path, cuda: str) -> None:
    (folder / "torch").mkdir()
    (folder / "torch/__init__.py").touch()
    text = f"__version__ = '2.14.1'\ncuda: Optional[str] = {cuda}\n"
    (folder / "torch/version.py").write_text(text)


@pytest.mark.parametrize(
    ("cuda", "said"), [("None", "is built without CUDA"), ("'12.8'", "is built for CUDA 12.8")]
)
def test_another_build_of_torch_is_refused(cuda, said, tmp_path, monkeypatch) -> None:
    fake_torch(tmp_path, cuda)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(EmulatorError, match=f"torch 2.14.1 {said}. Install the CUDA build"):
        find_torch()


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulatorError, match=r"needs gcc, g\+\+, nm. Install them"):
        find_compilers()


def test_missing_headers_are_named_with_what_brings_them(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="pip install --force-reinstall torch"):
        find_headers(module.Torch(tmp_path, "2.14.1"), tmp_path)


def test_headers_that_cannot_be_fetched_leave_a_way_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EmulatorError, match="set PIP_FIND_LINKS to it"):
        find_headers(find_torch(), tmp_path)


def test_a_card_always_says_that_it_is_emulated() -> None:
    assert Card(4).title == "Emulated 4 GB"
    assert Card(4, "RTX 3050").title == "Emulated RTX 3050"
    assert parse_card("8:7.5:RTX 2070") == Card(8, "RTX 2070", "7.5")
    assert parse_card("8") == Card(8)


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ((Card(0),), "must have some memory"),
        ((Card(8, capability="new"),), "capability must be two numbers but got new"),
        ((Card(8, "a,b"),), "without a comma"),
        ((), "1 to 8 cards but got 0"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(cards, said: str) -> None:
    with pytest.raises(EmulatorError, match=said):
        Machine(cards).variables()
