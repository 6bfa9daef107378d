"""Which confirmations are only half done."""

from __future__ import annotations

from dataclasses import replace

from sweeper.study.confirm import confirmed_unequally
from sweeper.trial.record import Outcome
from tests.report.synthetic import Row, recorded

CELLS = [Row(batch, 1, False, peak_gib=1.0, map50=(0.4,), wall_time_s=9.0) for batch in (8, 4)]
REPEATS = [replace(cell, seed=1, confirms=number) for number, cell in enumerate(CELLS)]


def test_a_confirmation_that_was_stopped_between_its_cells_is_told() -> None:
    cut = replace(REPEATS[1], outcome=Outcome.INTERRUPTED, reason="stopped")
    assert confirmed_unequally(recorded([*CELLS, REPEATS[0], cut]).trials)
    more = replace(REPEATS[0], seed=2)
    assert confirmed_unequally(recorded([*CELLS, *REPEATS, more]).trials)


def test_whole_ones_are_not() -> None:
    assert not confirmed_unequally(recorded(CELLS).trials)
    assert not confirmed_unequally(recorded([*CELLS, *REPEATS]).trials)
    assert not confirmed_unequally(recorded([*CELLS, REPEATS[0]]).trials)
