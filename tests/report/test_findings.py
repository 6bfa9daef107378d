import random
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from sweeper.report.answer import answer, plain_answer
from sweeper.report.cells import CellSummary
from sweeper.report.effects import effect, strategy_changes, summarise
from sweeper.report.findings import Findings
from sweeper.report.pareto import pareto_front
from sweeper.report.tally import Tally
from sweeper.report.words import verdict
from sweeper.trial.record import Outcome
from sweeper.trial.study_record import StudyStatus
from tests.report.synthetic import Row, recorded


def cell(
    map50: float | list[float],
    wall_time_s: float,
    peak_gib: float,
    batch: int = 4,
    accumulate: int = 1,
    amp: bool | str = False,
) -> CellSummary:
    scores = [map50] if isinstance(map50, float) else map50
    rows = [
        Row(batch, accumulate, amp, map50=(score,), wall_time_s=wall_time_s, peak_gib=peak_gib,
            confirms=0 if number else None, seed=number)
        for number, score in enumerate(scores)
    ]  # fmt: skip
    (only,) = Findings(recorded(rows)).cells
    return only


def with_result(cell: CellSummary, **changes: Any) -> CellSummary:
    """The cell, with changes to the result and the memory of its one trial."""
    (trial,) = cell.trials
    memory = replace(trial.result.memory, source=changes.pop("source", "measured"))
    changed = replace(trial, result=replace(trial.result, memory=memory, **changes))
    return CellSummary(cell.name, cell.setting, (changed,))


def reached(cell: CellSummary) -> float | None:
    return cell.map50


def dominates(a: CellSummary, b: CellSummary) -> bool:
    ours = (-a.map50, a.whole_s, a.peak_gib)
    theirs = (-b.map50, b.whole_s, b.peak_gib)
    return all(x <= y for x, y in zip(ours, theirs, strict=True)) and ours != theirs


def test_the_front_is_what_no_other_cell_dominates() -> None:
    numbers = random.Random(0)
    cells = [
        cell(numbers.randint(0, 9) / 10, numbers.randint(1, 9), numbers.randint(1, 9))
        for _ in range(200)
    ]
    front = pareto_front(cells, reached)
    assert 1 < len(front) < 100
    assert not any(dominates(a, b) or dominates(b, a) for a, b in combinations(front, 2))
    for other in cells:
        same = [c for c in front if (c.map50, c.whole_s, c.peak_gib)
                == (other.map50, other.whole_s, other.peak_gib)]  # fmt: skip
        assert same or any(dominates(c, other) for c in front)


def test_each_change_compares_cells_that_differ_in_nothing_else() -> None:
    cells = [
        cell(0.40, 100.0, 20.0, batch=16),
        cell(0.41, 120.0, 6.0, batch=4, accumulate=4),
        cell(0.38, 110.0, 5.0, batch=4),
        cell(0.42, 96.0, 4.5, batch=4, accumulate=4, amp=True),
        cell(0.43, 97.0, 4.5, batch=4, accumulate=4, amp="bf16"),
    ]
    found = {change.title.split(",")[0]: change for change in strategy_changes(cells)}
    assert [(a.name, b.name) for change in found.values() for a, b in change.pairs] == [
        ("b16×a1", "b4×a4"),
        ("b4×a1", "b4×a4"),
        ("b4×a4", "b4×a4 amp"),
        ("b4×a4", "b4×a4 bf16"),
        ("b4×a1", "b16×a1"),
    ]
    seen = found["amp on instead of off"].effects(reached)[0]
    assert (seen.peak_percent, seen.map50_points, seen.time_percent) == (
        pytest.approx(-25.0), pytest.approx(1.0), pytest.approx(-20.0)
    )  # fmt: skip
    assert summarise([3.0, None, 1.0, 8.0]) == (3.0, 1.0, 8.0)
    assert summarise([None]) is None


def test_a_cell_does_not_fit_when_it_does_not_with_one_seed() -> None:
    rows = [
        Row(8, 1, False, peak_gib=23.5, map50=(0.5,), wall_time_s=7.0),
        Row(4, 1, False, peak_gib=12.0, map50=(0.4,), wall_time_s=7.0),
        Row(8, 1, False, Outcome.OVER_BUDGET, 23.9, (0.5,), seed=1, confirms=0),
    ]
    findings = Findings(recorded(rows))
    assert [c.name for c in findings.ranked] == ["b4×a1"]
    assert [(c.name, c.peak_gib) for c in findings.infeasible] == [("b8×a1", 23.9)]


def test_how_a_study_is_run_makes_no_cells_and_no_failures() -> None:
    rows = [
        Row(4, 1, False, Outcome.INTERRUPTED, overrides=("study.n_trials=2",)),
        Row(2, 1, False, Outcome.INTERRUPTED, overrides=("study.n_trials=2",)),
        Row(4, 1, False, map50=(0.4,), overrides=("study.n_trials=4", "runs_dir=x")),
        Row(8, 1, False, Outcome.OUT_OF_MEMORY, 30.0, overrides=("study.n_trials=4",)),
        Row(16, 1, False, Outcome.IMPLIED, 60.0, implied_by=3),
        Row(4, 1, False, map50=(0.4,), seed=1, confirms=2),
    ]
    findings = Findings(recorded(rows))
    assert [c.name for c in findings.cells] == ["b4×a1", "b2×a1", "b8×a1", "b16×a1"]
    assert findings.tally == Tally(
        trials=5,
        running=0,
        complete=2,
        infeasible=2,
        pruned=0,
        interrupted=1,
        failed=0,
        asked=2,
        decided=1,
    )


def test_a_stopped_study_says_how_many_cells_need_no_trial() -> None:
    rows = [
        Row(8, 1, False, map50=(0.4,)),
        Row(4, 2, False, Outcome.COVERED, implied_by=0),
        Row(2, 4, False, Outcome.COVERED, implied_by=0),
        Row(2, 1, False, Outcome.INTERRUPTED),
    ]
    study = recorded(rows)
    stopped = replace(study, study=replace(study.study, status=StudyStatus.KILLED))
    said = "stopped: 1 of 7 trials done, 2 more cells decided by them, 1 interrupted."
    assert f"{said} The same command" in answer(Findings(stopped))


def test_a_covered_cell_names_the_one_that_speaks_for_it() -> None:
    reason = "not run: trial 0, b8×a1, takes the same optimizer steps of 8 images in larger ones"
    rows = [
        Row(8, 1, False, map50=(0.4,)),
        Row(4, 2, False, Outcome.COVERED, implied_by=0, reason=reason),
    ]
    findings = Findings(recorded(rows))
    assert [verdict(c, findings) for c in findings.cells] == [
        "**recommended**",
        "covered by b8×a1",
    ]


def test_a_resumed_study_in_which_nothing_fits_says_so() -> None:
    rows = [
        Row(4, 1, False, Outcome.INTERRUPTED),
        Row(4, 1, False, Outcome.OUT_OF_MEMORY, 30.0),
    ]
    assert answer(Findings(recorded(rows))).startswith("**Nothing fits 23.65 GiB.**")


def test_a_command_and_the_sentence_after_it_stand_in_lines_of_their_own() -> None:
    crashed = recorded([Row(4, 1, False, Outcome.CRASHED, reason="no kernel image")])
    again = "study.name=article\n\nOf 1 trial: 1 failed; the reasons are below."
    assert plain_answer(Findings(crashed)).endswith(again)
    empty = replace(crashed, trials=(), study=replace(crashed.study, status=StudyStatus.KILLED))
    assert "study.name=article\n\nThe study was stopped: " in plain_answer(Findings(empty))


def test_strategies_on_two_models_have_two_titles() -> None:
    rows = [
        Row(4, 1, False, map50=(0.4,), strategy="small_batch", overrides=(f"model={m}",))
        for m in ("yolo11n", "yolo11s")
    ]
    titles = [c.title for c in Findings(recorded(rows)).cells]
    assert titles == ["small_batch model=yolo11n", "small_batch model=yolo11s"]


def test_seeds_are_one_cell_and_other_overrides_make_another() -> None:
    rows = [
        Row(4, 1, False, map50=(0.40,), overrides=("train.momentum=0.8",)),
        Row(4, 1, False, map50=(0.30,), overrides=("train.momentum=0.9",)),
        Row(4, 1, False, map50=(0.42,), seed=1, overrides=("train.momentum=0.8", "seed=1")),
        Row(4, 1, False, map50=(0.44,), seed=2, confirms=0),
    ]
    cells = Findings(recorded(rows)).cells
    assert [(c.name, len(c.trials)) for c in cells] == [
        ("b4×a1 train.momentum=0.8", 3),
        ("b4×a1 train.momentum=0.9", 1),
    ]
    assert (cells[0].map50, cells[0].map50_deviation) == (0.44, None), "the fresh seed alone"
    searched = Findings(recorded(rows[:3])).cells[0]
    assert searched.map50 == pytest.approx(0.41)
    assert searched.map50_deviation == pytest.approx(0.02 / 2**0.5)


def test_a_cell_that_was_cut_short_and_run_again_counts_once() -> None:
    rows = [
        Row(4, 1, False, Outcome.INTERRUPTED, reason="the study was stopped"),
        Row(4, 1, False, map50=(0.40,), wall_time_s=7.0),
    ]
    (only,) = Findings(recorded(rows)).cells
    assert (only.state, only.whole_s, only.fits) == ("complete", 7.0, True)


def test_what_a_stopped_run_measured_is_not_what_it_needs() -> None:
    full, stopped = with_result(cell(0.4, 1.0, 8.0)), cell(0.4, 1.0, 23.0, batch=16)
    stopped = with_result(stopped, outcome=Outcome.OUT_OF_MEMORY, images_per_s=None)
    assert stopped.infeasible and stopped.need_gib is None
    assert effect(full, stopped, reached).peak_percent is None
    # the watchdog's: the child did not report
    stopped = with_result(stopped, outcome=Outcome.OVER_BUDGET)
    assert stopped.need_gib is None
    assert with_result(stopped, images_per_s=9.0).need_gib == 23.0
