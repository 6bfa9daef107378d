import math
import random
from itertools import combinations
from pathlib import Path

import pytest
from scipy.stats import ttest_ind

from sweeper.report.answer import answer
from sweeper.report.cells import Cell
from sweeper.report.certainty import certainty, margin_points
from sweeper.report.effects import effect, levers, summarise
from sweeper.report.findings import Findings, Tally, pareto_front
from sweeper.tracking import StudyRecord, TrialRecord
from sweeper.trial.record import Outcome
from tests.report.synthetic import Row, read


def cell(
    map50: float | list[float],
    wall_time_s: float,
    peak_gib: float,
    batch: int = 4,
    accumulate: int = 1,
    amp: bool = False,
) -> Cell:
    scores = [map50] if isinstance(map50, float) else map50
    params = {"batch": str(batch), "accumulate": str(accumulate), "amp": str(amp)}
    tags = {"outcome": "complete", "vram_source": "simulated", "mlflow.runName": f"b{batch}"}
    return Cell(
        f"b{batch}×a{accumulate}{' amp' if amp else ''}",
        (),
        tuple(
            TrialRecord(
                "",
                number,
                params,
                {"map50": score, "wall_time_s": wall_time_s, "peak_gib": peak_gib},
                tags | ({"confirms": "0"} if number else {}),
            )
            for number, score in enumerate(scores)
        ),
    )


def dominates(a: Cell, b: Cell) -> bool:
    ours = (-a.map50, a.wall_time_s, a.peak_gib)
    theirs = (-b.map50, b.wall_time_s, b.peak_gib)
    return all(x <= y for x, y in zip(ours, theirs, strict=True)) and ours != theirs


def test_the_front_is_what_no_other_cell_dominates() -> None:
    numbers = random.Random(0)
    cells = [
        cell(numbers.randint(0, 9) / 10, numbers.randint(1, 9), numbers.randint(1, 9))
        for _ in range(200)
    ]
    front = pareto_front(cells)
    assert 1 < len(front) < 100
    assert not any(dominates(a, b) or dominates(b, a) for a, b in combinations(front, 2))
    for other in cells:
        same = [c for c in front if (c.map50, c.wall_time_s, c.peak_gib)
                == (other.map50, other.wall_time_s, other.peak_gib)]  # fmt: skip
        assert same or any(dominates(c, other) for c in front)


def test_each_lever_compares_cells_that_differ_in_nothing_else() -> None:
    cells = [
        cell(0.40, 100.0, 20.0, batch=16),
        cell(0.41, 120.0, 6.0, batch=4, accumulate=4),
        cell(0.38, 110.0, 5.0, batch=4),
        cell(0.42, 96.0, 4.5, batch=4, accumulate=4, amp=True),
    ]
    found = {lever.title.split(",")[0]: lever for lever in levers(cells)}
    assert [(a.name, b.name) for lever in found.values() for a, b in lever.pairs] == [
        ("b16×a1", "b4×a4"),
        ("b4×a1", "b4×a4"),
        ("b4×a4", "b4×a4 amp"),
        ("b4×a1", "b16×a1"),
    ]
    seen = found["amp on instead of off"].effects[0]
    assert (seen.peak_percent, seen.map50_points, seen.time_percent) == (
        pytest.approx(-25.0), pytest.approx(1.0), pytest.approx(-20.0)
    )  # fmt: skip
    assert summarise([3.0, None, 1.0, 8.0]) == (3.0, 1.0, 8.0)
    assert summarise([None]) is None


def test_the_margin_is_that_of_students_t() -> None:
    a, b = [0.42, 0.43, 0.41], [0.40, 0.39, 0.40, 0.38]
    one, other = cell(a, 1.0, 1.0), cell(b, 1.0, 1.0)
    interval = ttest_ind(a, b).confidence_interval()
    assert margin_points(one, other) == pytest.approx(
        50 * (interval.high - interval.low), abs=0.01
    )
    assert margin_points(one, cell(0.4, 1.0, 1.0)) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([0.42, 0.43, 0.41], [0.30, 0.31, 0.30], "is larger than the noise"),
        ([0.42, 0.46, 0.40], [0.41, 0.44, 0.40], "the two cannot be told apart"),
        ([0.42, 0.43], [0.44], "b2×a1, 1.5 points ahead, was not repeated"),
        ([0.42], [0.40], "b2×a1 is 2.0 points behind, and a difference between single runs"),
    ],
)
def test_the_answer_says_how_sure_it_is(ours: list, theirs: list, said: str) -> None:
    findings = Findings(StudyRecord("", "s", {}))
    findings.cells = (cell(ours, 1.0, 1.0), cell(theirs, 1.0, 1.0, batch=2))
    assert said in certainty(findings)


def test_a_better_single_run_beside_the_confirmed_winner_is_named() -> None:
    findings = Findings(StudyRecord("", "s", {}))
    findings.cells = (
        cell([0.40, 0.41, 0.40], 1.0, 1.0, batch=4),
        cell([0.30, 0.31, 0.30], 1.0, 1.0, batch=2),
        cell([0.43], 1.0, 1.0, batch=8),
    )
    assert findings.winner is findings.cells[0]
    assert certainty(findings).endswith(
        "b8×a1 stands 2.7 points higher in a single run that was not repeated."
    )


def test_a_cell_does_not_fit_when_it_does_not_with_one_seed(tmp_path: Path) -> None:
    rows = [
        Row(8, 1, False, peak_gib=23.5, map50=(0.5,), wall_time_s=7.0),
        Row(4, 1, False, peak_gib=12.0, map50=(0.4,), wall_time_s=7.0),
        Row(8, 1, False, Outcome.OVER_BUDGET, 23.9, (0.5,), seed=1, tags={"confirms": "0"}),
    ]
    findings = Findings(read(tmp_path, rows))
    assert [c.name for c in findings.ranked] == ["b4×a1"]
    assert [(c.name, c.peak_gib) for c in findings.infeasible] == [("b8×a1", 23.9)]


def test_how_a_study_is_run_makes_no_cells_and_no_failures(tmp_path: Path) -> None:
    rows = [
        Row(4, 1, False, Outcome.INTERRUPTED, overrides=("study.n_trials=2",)),
        Row(2, 1, False, Outcome.INTERRUPTED, overrides=("study.n_trials=2",)),
        Row(4, 1, False, map50=(0.4,), overrides=("study.n_trials=4", "runs_dir=x")),
        Row(8, 1, False, Outcome.OUT_OF_MEMORY, 30.0, overrides=("study.n_trials=4",)),
        Row(16, 1, False, Outcome.IMPLIED, 60.0, tags={"implied_by": "3"}),
        Row(4, 1, False, map50=(0.4,), seed=1, tags={"confirms": "2"}),
    ]
    findings = Findings(read(tmp_path, rows))
    assert [c.name for c in findings.cells] == ["b4×a1", "b2×a1", "b8×a1", "b16×a1"]
    assert findings.tally == Tally(
        trials=5, running=0, complete=2, infeasible=2, pruned=0, failed=1, asked=2
    )


def test_a_resumed_study_in_which_nothing_fits_says_so(tmp_path: Path) -> None:
    rows = [
        Row(4, 1, False, Outcome.INTERRUPTED),
        Row(4, 1, False, Outcome.OUT_OF_MEMORY, 30.0),
    ]
    assert answer(Findings(read(tmp_path, rows))).startswith("**Nothing fits 23.65 GiB.**")


def test_strategies_on_two_models_have_two_titles(tmp_path: Path) -> None:
    rows = [
        Row(4, 1, False, map50=(0.4,), strategy="small_batch", overrides=(f"model={m}",))
        for m in ("yolo11n", "yolo11s")
    ]
    titles = [c.title for c in Findings(read(tmp_path, rows)).cells]
    assert titles == ["small_batch model=yolo11n", "small_batch model=yolo11s"]


def test_seeds_are_one_cell_and_other_overrides_make_another(tmp_path: Path) -> None:
    rows = [
        Row(4, 1, False, map50=(0.40,), overrides=("train.momentum=0.8",)),
        Row(4, 1, False, map50=(0.30,), overrides=("train.momentum=0.9",)),
        Row(4, 1, False, map50=(0.42,), seed=1, overrides=("train.momentum=0.8", "seed=1")),
        Row(4, 1, False, map50=(0.44,), seed=2, tags={"confirms": "0"}),
    ]
    cells = Findings(read(tmp_path, rows)).cells
    assert [(c.name, len(c.trials)) for c in cells] == [
        ("b4×a1 train.momentum=0.8", 3),
        ("b4×a1 train.momentum=0.9", 1),
    ]
    assert cells[0].map50 == pytest.approx(0.42)
    assert cells[0].map50_deviation == pytest.approx(0.02)


def test_a_cell_that_was_cut_short_and_run_again_counts_once(tmp_path: Path) -> None:
    rows = [
        Row(4, 1, False, Outcome.INTERRUPTED, reason="the study was stopped"),
        Row(4, 1, False, map50=(0.40,), wall_time_s=7.0),
    ]
    (only,) = Findings(read(tmp_path, rows)).cells
    assert (only.outcome, only.wall_time_s, only.fits) == ("complete", 7.0, True)


def test_what_a_stopped_run_measured_is_not_what_it_needs() -> None:
    full, stopped = cell(0.4, 1.0, 8.0), cell(math.nan, 1.0, 23.0, batch=16)
    stopped.first.tags.update(outcome="out_of_memory", vram_source="measured")
    full.first.tags.update(vram_source="measured")
    stopped = Cell(stopped.name, (), stopped.trials)
    assert stopped.infeasible and stopped.need_gib is None
    assert effect(full, stopped).peak_percent is None
    stopped.first.tags.update(outcome="over_budget")  # the watchdog's: the child did not report
    assert Cell(stopped.name, (), stopped.trials).need_gib is None
    stopped.first.metrics.update(images_per_s=9.0)
    assert Cell(stopped.name, (), stopped.trials).need_gib == 23.0
