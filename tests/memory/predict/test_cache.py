"""Traces on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeper.memory.predict.cache import read, write
from sweeper.memory.predict.polynomials import SectionTrace, StepTrace


@pytest.fixture
def trace() -> StepTrace:
    section = SectionTrace(np.array([1, -1]), np.array([[8.0], [0.0]]), np.array([1]))
    return StepTrace({"forward": section, "loss": section}, 21.0, 32, np.array([[1.0, 2.0]]))


def test_what_is_written_is_read(tmp_path: Path, trace: StepTrace) -> None:
    file = tmp_path / "deep" / "a.trace"
    write(file, trace)
    again = read(file)
    assert again is not None
    assert list(again.sections) == ["forward", "loss"]
    assert (again.anchors, again.stride) == (21.0, 32)
    assert np.array_equal(again.sections["loss"].coefficients, trace.sections["loss"].coefficients)
    assert [f.name for f in file.parent.iterdir()] == ["a.trace"]


def test_a_missing_file_is_a_miss(tmp_path: Path) -> None:
    assert read(tmp_path / "none.trace") is None


@pytest.mark.parametrize("keep", [0, 1, 50, 400])
def test_a_torn_file_is_a_miss(tmp_path: Path, trace: StepTrace, keep: int) -> None:
    file = tmp_path / "a.trace"
    write(file, trace)
    file.write_bytes(file.read_bytes()[:keep])
    assert read(file) is None


def test_one_flipped_bit_anywhere_is_a_miss(tmp_path: Path, trace: StepTrace) -> None:
    file = tmp_path / "a.trace"
    write(file, trace)
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert read(file) is None


def test_another_write_replaces_a_damaged_file(tmp_path: Path, trace: StepTrace) -> None:
    file = tmp_path / "a.trace"
    file.write_text("garbage")
    write(file, trace)
    assert read(file) is not None
