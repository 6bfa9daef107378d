"""The check of an export against the .pt can fail, and does where it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeper.deploy.agreement import differences, verdict
from sweeper.deploy.rows import Row


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


def row(map50: float, box_px: float = 0.0, score: float = 0.0, ran: str = "fp32") -> Row:
    return Row("onnx", ran=ran, map50=map50, box_px=box_px, score=score)


def test_an_export_that_keeps_its_accuracy_agrees_whatever_one_box_does() -> None:
    assert verdict(row(0.4913, box_px=19.6, score=0.3, ran="bf16"), 0.4925, 0.01) == ""
    assert verdict(row(0.6), 0.4925, 0.01) == ""  # better is no fault


def test_an_export_that_loses_accuracy_disagrees_however_close_its_boxes() -> None:
    reason = verdict(row(0.47), 0.4925, 0.01)
    assert reason == "loses 0.0225 of mAP@0.5, more than deploy.max_map_drop=0.01"
    assert verdict(row(0.47), 0.4925, 0.03) == ""
    assert "nan" in verdict(row(float("nan")), 0.4925, 0.01)


@pytest.mark.parametrize(
    ("found", "word"),
    [((0.6, 0.0), "a box"), ((0.0, 0.02), "a score"), ((float("nan"), 0.0), "a box")],
)
def test_where_no_accuracy_can_be_lost_the_outputs_decide(
    found: tuple[float, float], word: str
) -> None:
    assert word in verdict(row(0.0, *found), reference=0.01, max_map_drop=0.01)
    assert verdict(row(0.0, 0.4, 0.009), reference=0.0, max_map_drop=0.01) == ""


def test_half_precision_may_differ_more() -> None:
    assert verdict(row(0.0, 1.9, 0.02, ran="bf16"), 0.0, 0.01) == ""
    assert "a box" in verdict(row(0.0, 2.1, 0.02, ran="bf16"), 0.0, 0.01)
