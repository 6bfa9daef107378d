"""How far one end lies below another, where mAP leaves little room."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.trial.curves import End
from sweeper.trial.field import Gap

ERRORS = st.floats(math.log(0.01), 0.0)
SDS = st.floats(0.01, 0.5)


@given(ERRORS, ERRORS, SDS, SDS, st.floats(0.0, 0.3))
def test_the_interval_has_room_on_both_sides(
    one: float, other: float, sd: float, other_sd: float, common: float
) -> None:
    gap = Gap.of(End(one, sd, common), End(other, other_sd, common), 1.28)
    assert -1 <= gap.least < gap.expected < gap.most <= 1


def test_where_the_lower_end_is_at_zero_the_upper_one_widens_the_gap() -> None:
    gap = Gap.of(End(0.0, 0.1, 0.0), End(math.log(0.93), 0.1, 0.0), 1.28)
    assert gap.expected == pytest.approx(0.07)
    # 1 - 0.93 * exp(-1.28 * 0.1 * sqrt(2)), by hand
    assert gap.most == pytest.approx(0.224, abs=1e-3)


def test_far_from_zero_the_gap_is_that_of_the_ratio() -> None:
    gap = Gap.of(End(math.log(0.3), 0.1, 0.0), End(math.log(0.2), 0.1, 0.0), 1.0)
    reach = 0.1 * math.sqrt(2)
    assert gap.least == pytest.approx(0.3 * math.exp(-reach) - 0.2)
    assert gap.most == pytest.approx(0.3 * math.exp(reach) - 0.2)
