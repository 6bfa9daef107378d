import pytest

from sweeper.numbers import (
    change,
    count,
    duration,
    gain,
    gib,
    limit,
    percent,
    points,
    score,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.662, "0.66"), (9.994, "9.99"), (9.999, "10.0"), (12.06, "12.1"), (None, "–")],
)
def test_a_peak_has_as_many_digits_as_it_is_worth(value: float | None, text: str) -> None:
    assert gib(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0, "–"),
        (4.24, "4.2 s"),
        (9.97, "10 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (13320.0, "3 h 42 min"),
    ],
)
def test_a_time_is_told_as_people_tell_it(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_budget_is_shown_as_it_was_given() -> None:
    assert (limit(24.0), limit(23.65)) == ("24", "23.65")


def test_changes_are_relative_and_gains_are_points() -> None:
    assert change(12.1, 11.0) == pytest.approx(10.0)
    assert change(12.1, 0.0) is None and change(None, 1.0) is None
    assert gain(0.423, 0.398) == pytest.approx(2.5)
    assert (percent(-20.4), percent(-0.2), percent(None)) == ("-20 %", "0 %", "–")
    assert (points(2.51), points(-0.04)) == ("+2.5", "0")


def test_scores_and_counts() -> None:
    assert (score(0.4234), score(0.42, 0.0061)) == ("0.423", "0.420 ± 0.006")
    assert (count(1, "trial"), count(10_000, "trial")) == ("1 trial", "10,000 trials")
