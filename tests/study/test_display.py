"""What the terminal says of trials that ran before, of many, and of repetitions."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from sweeper.study import display as module
from sweeper.study.display import StudyDisplay
from sweeper.study.end_table import ROWS
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.repeats import repeat_number, trial_in_words
from tests.study.fakes import epochs_of


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


@pytest.mark.parametrize("earlier", [0, 2])
def test_a_trial_that_goes_on_after_its_end_counts_once(make_spec, earlier: int) -> None:
    console = Console(file=io.StringIO(), width=200)
    display = StudyDisplay(console)
    specs = [make_spec(number=number) for number in range(2)]
    display.start(2 - earlier, earlier=earlier)
    for spec in specs[earlier:]:
        display.trial_finished(spec, TrialResult(Outcome.COMPLETE, paused=True))
    display.again(specs[0])
    display.trial_finished(specs[0], TrialResult(Outcome.COMPLETE))
    assert console.file.getvalue().splitlines()[-1].startswith("  2/2 ")
    assert ("and 1 more trial," in shown(display)) == bool(earlier)


def test_a_trial_that_waits_at_a_rung_when_the_study_stops_is_in_the_table(make_spec) -> None:
    display = StudyDisplay(Console(file=io.StringIO()))
    part = TrialResult(Outcome.COMPLETE, paused=True, trained=2, map50=0.4, iterations=8)
    for number in range(2):
        display.trial_paused(make_spec(number=number, epochs=9, until=2), part)
    display.trial_finished(make_spec(number=1), TrialResult(Outcome.INTERRUPTED, "stopped"))
    (waiting,) = (line for line in shown(display).splitlines() if "waits at a rung" in line)
    assert waiting.startswith("0 ") and "2/9" in waiting and "0.400" in waiting


def test_a_table_of_eighteen_trials_shows_them_all(make_spec) -> None:
    display = StudyDisplay(Console(file=io.StringIO()))
    for number in range(18):
        display.trial_finished(make_spec(number=number), TrialResult(Outcome.COMPLETE))
    assert len(shown(display).splitlines()) == 19


def test_a_table_that_leaves_trials_out_says_how_many_and_where_they_are(make_spec) -> None:
    display = StudyDisplay(Console(file=io.StringIO()))
    for number in range(ROWS + 6):
        display.trial_finished(make_spec(number=number), TrialResult(Outcome.COMPLETE))
    assert "and 6 more trials, in the report named below" in shown(display)


def test_a_repetition_is_called_by_the_trial_that_it_repeats(make_spec) -> None:
    spec = make_spec(number=repeat_number(2, 1), confirms=2)
    assert spec.number == 1_002_001, "as studies of before have numbered it"
    assert trial_in_words(spec) == "trial 2, repeat 1"
    display = StudyDisplay(Console(file=io.StringIO()))
    display.trial_finished(spec, TrialResult(Outcome.COMPLETE))
    assert "2, repeat 1" in shown(display) and "1002001" not in shown(display)


@pytest.mark.parametrize("terminal", [False, True])
def test_slow_epochs_are_lines_and_quick_ones_are_not(
    make_spec, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    console = Console(file=io.StringIO(), width=200, highlight=False, force_terminal=terminal)
    display = StudyDisplay(console)
    spec = make_spec(epochs=40, until=3)
    display.start(1)
    display.trial_started(spec)
    display.epoch(spec.number, epochs_of([0.25])[0])
    assert console.file.getvalue() == ""
    monkeypatch.setattr(module, "SLOW_S", 0.0)
    for report in epochs_of([0.25, 0.5, 0.75])[1:]:
        display.epoch(spec.number, report)
    line = "    · b4×a1       epoch 2/40     mAP@0.5 0.500\n"
    assert console.file.getvalue() == line, "the last one of a part is in the line of its end"


def test_how_long_it_may_take_is_said_once_and_again_if_that_was_too_short(make_spec) -> None:
    console = Console(file=io.StringIO(), width=200)
    display = StudyDisplay(console)
    specs = [make_spec(number=number, epochs=40) for number in range(4)]
    display.start(4, specs, rungs=(6, 10))
    for spec, epoch_s in zip(specs, (12.0, 13.0, 24.0), strict=False):
        display.trial_started(part := replace(spec, until=6))
        for report in epochs_of([0.1] * 6):
            display.epoch(part.number, replace(report, epoch_s=epoch_s))
        display.trial_paused(part, TrialResult(Outcome.COMPLETE, paused=True, trained=6))
    told = [line for line in console.file.getvalue().splitlines() if line.endswith("pace")]
    assert told == ["at most 7 min left at this pace"], "34 epochs of 12 s, then 22 of 16 s"
    for report in epochs_of([0.1] * 8)[6:]:
        display.trial_started(replace(specs[0], until=10, trained=6))
        display.epoch(0, replace(report, epoch_s=120.0))
    display.trial_paused(specs[0], TrialResult(Outcome.COMPLETE, paused=True, trained=8))
    told = [line for line in console.file.getvalue().splitlines() if line.endswith("pace")]
    assert told[1:] == ["at most 9 min left at this pace"], "20 epochs of 27 s"


def test_what_takes_less_than_a_minute_is_not_told(make_spec) -> None:
    console = Console(file=io.StringIO(), width=200)
    display = StudyDisplay(console)
    display.start(2, [make_spec(number=n, epochs=3) for n in range(2)])
    display.trial_started(spec := make_spec(epochs=3))
    for report in epochs_of([0.1] * 3):
        display.epoch(spec.number, report)
    display.trial_finished(spec, TrialResult(Outcome.COMPLETE))
    assert "left" not in console.file.getvalue()
