"""The search for the largest batch that trains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.plan.bracket import FEW, MOST, TRAININGS, bracket


def tried(limit: int, first: int) -> list[int]:
    """The batches that are tried where those up to a limit train."""
    batches: list[int] = []

    def trains(batch: int) -> bool:
        batches.append(batch)
        return batch <= limit

    bracket(trains, first)
    return batches


@pytest.mark.parametrize(
    ("limit", "batches"),
    [
        (24, [24, 27, 25]),
        (26, [24, 27, 25, 26]),
        (23, [24, 21, 22, 23]),
        (40, [24, 27, 33, 45, 39, 42, 40]),
        (2, [24, 21, 15, 3, 1, 2]),
        (0, [24, 21, 15, 3, 1]),
        (100, [24, 27, 33, 45, 48]),
    ],
)
def test_steps_away_from_the_first_batch_double_and_then_halve(
    limit: int, batches: list[int]
) -> None:
    assert tried(limit, first=24) == batches


def test_where_nothing_is_predicted_to_fit_the_smallest_comes_first() -> None:
    assert tried(0, first=1) == [1]
    assert tried(3, first=1) == [1, 2, 4, 3]
    assert tried(100, first=1)[-1] == FEW


@given(limit=st.integers(0, 700), first=st.integers(1, 300))
def test_few_batches_are_tried_each_once_and_none_far_beyond_the_first(
    limit: int, first: int
) -> None:
    batches = tried(limit, first)
    assert len(batches) == len(set(batches)) <= TRAININGS
    assert min(batches) >= 1 and max(batches) <= max(MOST * first, FEW)


@given(first=st.integers(1, 40), off=st.floats(-0.15, 0.15))
def test_a_prediction_that_is_nearly_right_is_bracketed_exactly(first: int, off: float) -> None:
    limit = round(first * (1 + off))
    batches = tried(limit, first)
    assert limit in batches or limit == 0
    assert limit + 1 in batches
