"""How far one mAP@0.5 ends below another."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sweeper.trial.curves import End
from sweeper.trial.gap import Gap

ENDS = st.tuples(st.floats(0.001, 0.999), st.floats(0.01, 0.5))
COMMON = st.floats(0, 0.3)


def end(map50: float, sd: float, common_sd: float = 0.0) -> End:
    return End(math.log(1 - map50), sd, common_sd)


@given(ENDS, ENDS, COMMON, COMMON)
@example((0.625, 0.0625), (0.0625, 0.125), 0.25, 0.25)  # shifted, the ends come closer
def test_a_gap_is_that_of_the_two_turned_round(
    one: tuple[float, float], other: tuple[float, float], ours: float, theirs: float
) -> None:
    a, b = end(*one, ours), end(*other, theirs)
    gap, back = Gap.of(a, b, 1.0), Gap.of(b, a, 1.0)
    assert gap.expected == pytest.approx(other[0] - one[0])
    assert gap.least < gap.expected < gap.most
    assert (gap.least, gap.most) == pytest.approx((-back.most, -back.least))


def test_the_upper_end_may_rise_where_the_lower_one_can_fall_no_further() -> None:
    lower, upper = end(0.001, 0.1), end(0.127, 0.08)
    gap = Gap.of(lower, upper, 1.28)
    assert gap.most == pytest.approx(upper.outlook.high - 0.001, abs=1e-3) and gap.most > 0.2


@pytest.mark.parametrize("sd", [0.01, 0.03])
def test_small_deviations_add_up_as_those_of_a_ratio_do(sd: float) -> None:
    gap = Gap.of(end(0.8, sd), end(0.8, sd), 1.0)
    assert gap.most == pytest.approx(0.2 * math.sqrt(2) * sd, rel=0.05)


def test_an_end_that_the_common_slope_leaves_open_leaves_the_gap_open() -> None:
    known = Gap.of(end(0.3, 0.05, 0.1), end(0.8, 0.05, 0.1), 1.0)
    open_ = Gap.of(end(0.3, 0.05, 0.4), end(0.8, 0.05, 0.1), 1.0)
    assert open_.least < known.least - 0.1 and open_.most > known.most
