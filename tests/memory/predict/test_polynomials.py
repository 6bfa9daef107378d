"""Polynomials of storage sizes."""

from __future__ import annotations

import pytest

from sweeper.memory.predict.polynomials import fit, loss_basis, model_basis

POINTS = ((2, 64), (2, 96), (2, 128), (3, 64), (3, 96))


def _feature_map(batch: int, imgsz: int) -> int:
    return 2 * batch * 16 * (imgsz // 8) ** 2


def _attention(batch: int, imgsz: int) -> int:
    return 4 * batch * (imgsz // 32) ** 4


def test_five_points_give_every_size_exactly() -> None:
    traces = [[(1, _feature_map(*p)), (2, _attention(*p)), (3, 4096), (-1, 0)] for p in POINTS]
    section = fit([model_basis(*p) for p in POINTS], traces, kept=[3])
    assert section.sizes(model_basis(48, 1280)) == [
        _feature_map(48, 1280),
        _attention(48, 1280),
        4096,
        0,
    ]
    assert section.kept.tolist() == [3]


def test_traces_of_different_programs_are_refused() -> None:
    with pytest.raises(ValueError, match="do not line up"):
        fit([model_basis(*p) for p in POINTS], [[(1, 8)]] * 4 + [[(1, 8), (2, 8)]], kept=[])


def test_a_size_that_is_not_a_polynomial_is_refused() -> None:
    points = [*POINTS, (3, 128), (4, 64)]
    traces = [[(1, 4 * batch**3 * imgsz)] for batch, imgsz in points]
    with pytest.raises(ValueError, match="polynomial"):
        fit([model_basis(*p) for p in points], traces, kept=[])


def test_sections_keep_the_numbers_of_the_whole() -> None:
    whole = fit([[1.0]], [[(1, 8), (2, 16), (-1, 0), (3, 32)]], kept=[2])
    parts = whole.split({"forward": 0, "backward": 2})
    assert parts["forward"].numbers.tolist() == [1, 2]
    assert parts["backward"].numbers.tolist() == [-1, 3]


def test_boxes_enter_through_their_number_alone_and_times_the_anchors() -> None:
    few, many = loss_basis(2, 64, 1, []), loss_basis(2, 64, 11, [])
    assert [b - a for a, b in zip(few, many, strict=True)] == [0, 0, 0, 0, 20, 80]
