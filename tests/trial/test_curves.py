"""What the beginning of a curve lets expect of its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.trial.curves import Shape, Trend, outlook

VALUES = st.lists(st.floats(0.0, 1.0), max_size=40)


def power_law(epochs: int, slope: float) -> list[float]:
    """A curve without noise: the error falls as a power of the epoch."""
    return [1 - 0.9 * epoch**-slope for epoch in range(1, epochs + 1)]


def test_nothing_is_expected_of_a_curve_before_learning_has_begun() -> None:
    assert outlook([], 40) is None
    assert outlook([0.0] * 8, 40) is None
    assert outlook([0.0, 0.01, 0.04, 0.06, 0.02], 40) is None


def test_one_epoch_above_zero_is_not_yet_learning() -> None:
    assert outlook([0.0, 0.0, 0.3], 40) is None
    assert outlook([0.0, 0.3, 0.4], 40) is not None


@pytest.mark.parametrize("slope", [0.2, 0.6, 1.2])
def test_a_power_law_is_continued(slope: float) -> None:
    whole = power_law(40, slope)
    found = outlook(whole[:16], 40)
    assert found is not None
    assert found.low <= whole[-1] <= found.high
    assert found.map50 == pytest.approx(whole[-1], abs=0.06)


def test_a_curve_that_has_nearly_ended_leaves_little_open() -> None:
    whole = power_law(40, 0.6)
    early, late = outlook(whole[:8], 40), outlook(whole[:36], 40)
    assert early is not None and late is not None
    assert late.high - late.low < (early.high - early.low) / 2


def test_a_curve_that_wiggles_leaves_more_open() -> None:
    calm = power_law(16, 0.4)
    loud = [value + 0.05 * (-1) ** epoch for epoch, value in enumerate(calm)]
    still, shaken = (
        Shape.of([trend]).end(trend, 40).outlook
        for curve in (calm, loud)
        if (trend := Trend.of(curve, best=0.0))  # which would cut the interval short
    )
    assert shaken.high - shaken.low > 1.2 * (still.high - still.low)


def test_no_end_is_expected_below_the_best_so_far() -> None:
    found = outlook([0.3, 0.6, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5], 40)
    assert found is not None and found.low == 0.8


def test_a_long_curve_does_not_make_its_noise_vanish() -> None:
    trend = Trend.of([0.5 + 0.05 * (-1) ** epoch for epoch in range(300)])
    assert trend is not None
    assert Shape.of([trend]).end(trend, 300).sd > 0.02


def test_the_slope_of_the_others_helps_a_curve_with_few_points() -> None:
    steep = Trend.of(power_law(8, 1.5))
    short = Trend.of([0.0] * 6 + [0.3, 0.4])
    assert steep is not None and short is not None
    alone, together = Shape.of([short]), Shape.of([steep, steep, short])
    assert together.end(short, 40).map50 > alone.end(short, 40).map50


def test_a_curve_that_is_still_low_may_rise_far() -> None:
    found = outlook([0.0] * 3 + [0.06, 0.06, 0.07, 0.06, 0.08, 0.07, 0.09, 0.08, 0.09, 0.1], 40)
    assert found is not None and found.low < 0.1 and found.high > 0.6


def test_who_begins_late_has_more_to_gain() -> None:
    early = outlook([0.0, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6], 40)
    late = outlook([0.0, 0.0, 0.0, 0.0, 0.45, 0.5, 0.55, 0.6], 40)
    assert early is not None and late is not None
    assert late.map50 > early.map50


@given(VALUES, st.integers(40, 300))
def test_an_outlook_is_a_map_within_its_interval(curve: list[float], epochs: int) -> None:
    found = outlook(curve, epochs)
    if found is not None:
        assert 0 <= found.low <= found.map50 <= found.high <= 1
