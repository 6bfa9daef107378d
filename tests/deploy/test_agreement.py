"""The check of an export against the .pt can fail, and does where it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeper.config.settings import ToleranceSettings
from sweeper.deploy.agreement import differences, verdict

TOLERANCE = ToleranceSettings(box_px=0.5, score=0.01, map50=0.005)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[np.ndarray, Path]:
    array = np.random.default_rng(0).random((2, 6, 300), np.float32)
    return array, save(tmp_path / "pt.npy", array)


def test_one_moved_box_and_one_changed_score_are_found(
    outputs: tuple[np.ndarray, Path], tmp_path: Path
) -> None:
    array, reference = outputs
    other = array.copy()
    place = int(array[1, 4:].max(axis=0).argmax())
    other[1, 2, place] += 3
    other[0, 5, 7] += 0.25
    box_px, score = differences(reference, save(tmp_path / "b.npy", other))
    assert (box_px, score) == (pytest.approx(3, abs=1e-3), pytest.approx(0.25, abs=1e-3))


def test_a_box_without_a_score_does_not_count(
    outputs: tuple[np.ndarray, Path], tmp_path: Path
) -> None:
    array, reference = outputs
    other = array.copy()
    other[0, 0, int(array[0, 4:].max(axis=0).argmin())] += 99
    assert differences(reference, save(tmp_path / "b.npy", other))[0] == 0


def test_another_shape_or_a_value_that_is_not_finite_is_refused(
    outputs: tuple[np.ndarray, Path], tmp_path: Path
) -> None:
    array, reference = outputs
    with pytest.raises(ValueError, match="shape"):
        differences(reference, save(tmp_path / "b.npy", array[:, :, :-1]))
    array[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        differences(reference, save(tmp_path / "b.npy", array))


@pytest.mark.parametrize(
    ("found", "word"),
    [((0.6, 0, 0.5), "box_px"), ((0, 0.02, 0.5), "score"), ((0, 0, 0.4), "map50")],
)
def test_each_tolerance_binds(found: tuple[float, float, float], word: str) -> None:
    assert word in verdict(TOLERANCE, *found, reference=0.5)
    assert verdict(TOLERANCE, 0.4, 0.009, 0.504, reference=0.5) == ""


def test_not_a_number_never_agrees() -> None:
    assert "map50" in verdict(TOLERANCE, 0, 0, float("nan"), reference=0.5)
