"""What the terminal says of trials that ran before, of many, and of repetitions."""

from __future__ import annotations

import io

from rich.console import Console

from sweeper.study.display import SUMMARY_ROWS, StudyDisplay
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.repeats import repeat_number, trial_in_words


def shown(display: StudyDisplay) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(display.summary())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_resumed_study_counts_what_had_ended_before(make_spec) -> None:
    console = Console(file=io.StringIO(), width=200)
    display = StudyDisplay(console)
    display.start(17, earlier=1)
    display.trial_finished(make_spec(), TrialResult(Outcome.COMPLETE))
    assert console.file.getvalue().startswith("  2/18 ")
    assert "and 1 more trial, in the report named below" in shown(display)


def test_a_table_of_eighteen_trials_shows_them_all(make_spec) -> None:
    display = StudyDisplay(Console(file=io.StringIO()))
    for number in range(18):
        display.trial_finished(make_spec(number=number), TrialResult(Outcome.COMPLETE))
    assert len(shown(display).splitlines()) == 19


def test_a_table_that_leaves_trials_out_says_how_many_and_where_they_are(make_spec) -> None:
    display = StudyDisplay(Console(file=io.StringIO()))
    for number in range(SUMMARY_ROWS + 6):
        display.trial_finished(make_spec(number=number), TrialResult(Outcome.COMPLETE))
    assert "and 6 more trials, in the report named below" in shown(display)


def test_a_repetition_is_called_by_the_trial_that_it_repeats(make_spec) -> None:
    spec = make_spec(number=repeat_number(2, 1), confirms=2)
    assert spec.number == 1_002_001, "as studies of before have numbered it"
    assert trial_in_words(spec) == "repeat 1 of trial 2"
    display = StudyDisplay(Console(file=io.StringIO()))
    display.trial_finished(spec, TrialResult(Outcome.COMPLETE))
    assert "repeat 1 of 2" in shown(display) and "1002001" not in shown(display)
