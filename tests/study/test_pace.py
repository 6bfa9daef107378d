"""How long a study still takes, at most."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeper.config.compose import compose_settings
from sweeper.study.pace import Pace, epochs_after_search
from tests.study.fakes import epochs_of


def train(pace: Pace, spec, epochs: int, epoch_s: float | None = 30.0) -> None:
    pace.start(spec)
    for report in epochs_of([0.1] * epochs)[spec.trained :]:
        pace.epoch(spec.number, replace(report, epoch_s=epoch_s))


def test_nothing_is_known_before_an_epoch_tells(make_spec) -> None:
    pace = Pace()
    pace.expect(3, 10)
    assert pace.in_words(3) == ""
    train(pace, make_spec(), 2, epoch_s=None)
    assert pace.in_words(3) == ""


def test_every_trial_may_come_to_the_last_rung(make_spec) -> None:
    pace = Pace()
    pace.expect(3, 10)
    train(pace, make_spec(until=4), 4)
    pace.end(0, paused=True)
    assert pace.left_s(3) == (6 + 10 + 10) * 30
    assert pace.in_words(3) == "at most 13 min left at this pace"
    train(pace, make_spec(trained=4), 5)
    assert pace.left_s(3) == (5 + 10 + 10) * 30
    pace.end(0)
    assert pace.left_s(2) == 20 * 30


def test_trials_side_by_side_share_the_time_but_not_an_epoch(make_spec) -> None:
    pace = Pace()
    pace.expect(2, 10)
    for number, epochs in ((0, 8), (1, 2)):
        train(pace, make_spec(number=number), epochs)
    assert pace.left_s(2) == 8 * 30
    assert pace.left_s(4) == (2 + 8 + 10 + 10) / 2 * 30


def test_hours_are_told_as_such(make_spec) -> None:
    pace = Pace()
    pace.expect(24, 100)
    train(pace, make_spec(), 1)
    assert pace.in_words(24) == "at most 20 h 00 min left at this pace"


def test_what_follows_the_search_counts_until_it_has_begun(make_spec) -> None:
    pace = Pace(after=2 * 10 + 40)
    pace.expect(1, 10)
    train(pace, make_spec(), 10)
    pace.end(0)
    assert pace.left_s(0) == 60 * 30
    pace.expect(2, 0)  # the repetitions, up to the same rung
    assert pace.left_s(2) == 60 * 30
    pace.expect(1, 40)  # the winner's run
    pace.start(make_spec(trained=10))
    assert pace.left_s(1) == 30 * 30


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        ([], 0),
        (["study.confirm.top=2", "study.confirm.seeds=3"], 2 * 3 * 10),
        (["study.finish=true"], 40),
        (["study.finish=true", "study.rungs=[]"], 0),
        (["study.confirm.top=1", "study.confirm.seeds=2", "study.rungs=[]"], 2 * 40),
    ],
)
def test_repetitions_and_the_winners_end_follow(overrides: list[str], epochs: int) -> None:
    settings = compose_settings(["train.epochs=40", "study.rungs=[6,10]", *overrides])
    assert epochs_after_search(settings) == epochs
