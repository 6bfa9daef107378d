"""What keeps to a budget."""

from __future__ import annotations

from sweeper.memory.budget import violation, watchdog_limit_gib


def test_a_peak_fits_up_to_the_budget_itself() -> None:
    assert violation(7.5, 8.0) == -0.5
    assert violation(8.0, 8.0) == 0.0
    assert violation(8.25, 8.0) == 0.25


def test_the_watchdog_leaves_room_above_the_budget() -> None:
    assert 8.0 < watchdog_limit_gib(8.0) < 8.5
