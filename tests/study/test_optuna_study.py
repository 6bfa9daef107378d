import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState

from sweeper.config.compose import compose_settings
from sweeper.errors import StudyError
from sweeper.study.identity import changes, identity
from sweeper.study.judge import LEAST_EXCESS_GIB
from sweeper.study.optuna_study import Best, CellStudy
from sweeper.study.outcomes import outcome_of
from sweeper.study.space import Cell, Space
from sweeper.trial.readings import EMULATED, MEASURED, SIMULATED, MemoryReading
from sweeper.trial.record import Outcome, TrialResult

DIMENSIONS = {"batch": (2, 4, 8, 16), "accumulate": (1, 2), "amp": (False, True)}


def make_space(dimensions=DIMENSIONS) -> Space:
    import itertools

    settings = compose_settings([])
    names = list(dimensions)
    cells = tuple(
        Cell(tuple(zip(names, values, strict=True)), settings, "x")
        for values in itertools.product(*dimensions.values())
    )
    return Space(dict(dimensions), (), cells)


def open_study(
    folder: Path, sampler: str = "grid", space: Space | None = None, source: str = SIMULATED
) -> CellStudy:
    url = f"sqlite:///{folder}/optuna.db"
    space = space or make_space()
    return CellStudy("s", space, url, sampler, 1, 24.0, identity(space, 24.0, source))


def ask_next(study: CellStudy, sampler: str = "grid") -> tuple[Trial, Cell]:
    return study.ask(study.open_cells[0] if sampler == "grid" else None)


def complete(map50: float) -> TrialResult:
    return TrialResult(Outcome.COMPLETE, map50=map50)


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_every_cell_is_asked_once(tmp_path: Path, sampler: str) -> None:
    study = open_study(tmp_path, sampler)
    seen = []
    while study.open_cells:
        trial, cell = ask_next(study, sampler)
        seen.append(cell.params)
        study.tell(trial, complete(0.1 * len(seen) % 1))
    assert len(seen) == len(set(seen)) == 16


def test_tpe_moves_towards_what_scores(tmp_path: Path) -> None:
    study = open_study(tmp_path, "tpe", make_space({"batch": tuple(range(60))}))
    asked = []
    for _ in range(30):
        trial, cell = study.ask()
        value = dict(cell.params)["batch"]
        asked.append(value)
        study.tell(trial, complete(0.9 if value in range(0, 60, 4) else 0.1))
    assert len(set(asked)) == 30


def test_tpe_leaves_amp_alone_where_it_is_refused(tmp_path: Path) -> None:
    space = make_space({"batch": tuple(range(30)), "amp": (False, True)})
    study = open_study(tmp_path, "tpe", space)
    refused = []
    for _ in range(30):
        trial, cell = study.ask()
        batch, amp = dict(cell.params).values()
        refused.append(amp)
        study.tell(trial, TrialResult(Outcome.AMP_REFUSED) if amp else complete(batch / 100))
    assert sum(refused[10:]) <= 6, "10 of 20 by chance, and 15 were they told as FAIL"


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    for _ in range(3):
        trial, _ = ask_next(first)
        first.tell(trial, complete(0.5))
    again = open_study(tmp_path)
    assert again.finished == 3
    assert len(again.open_cells) == 13


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.INTERRUPTED, Outcome.DISTURBED])
@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_what_says_nothing_of_its_cell_runs_again_at_the_next_start(
    tmp_path: Path, sampler: str, outcome: Outcome
) -> None:
    study = open_study(tmp_path, sampler)
    trial, cell = ask_next(study, sampler)
    study.tell(trial, TrialResult(outcome, "boom"))
    assert study.finished == 1 and not study.is_open(cell), "or one start could go on for ever"
    again = open_study(tmp_path)
    assert again.finished == 0 and again.is_open(cell)
    ended = [o for o in Outcome if again.ended_before(dict(cell.params), o)]
    assert ended == [outcome]


def test_a_trial_that_was_left_running_is_found_and_its_cell_is_taken(tmp_path: Path) -> None:
    ask_next(open_study(tmp_path))
    again = open_study(tmp_path)
    (stale,) = again.stored_trials()
    assert outcome_of(stale) is None
    again.tell(again.reopen(stale), TrialResult(Outcome.INTERRUPTED))
    assert again.finished == 0 and len(again.open_cells) == 16


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.COMPLETE, TrialState.COMPLETE),
        (Outcome.PRUNED, TrialState.PRUNED),
        (Outcome.OUT_OF_MEMORY, TrialState.PRUNED),
        (Outcome.OVER_BUDGET, TrialState.PRUNED),
        (Outcome.DIVERGED, TrialState.PRUNED),
        (Outcome.AMP_REFUSED, TrialState.PRUNED),
        (Outcome.TIMEOUT, TrialState.FAIL),
        (Outcome.CRASHED, TrialState.FAIL),
        (Outcome.INTERRUPTED, TrialState.FAIL),
        (Outcome.DISTURBED, TrialState.FAIL),
    ],
)
def test_each_outcome_has_its_state(tmp_path: Path, outcome: Outcome, state: TrialState) -> None:
    study = open_study(tmp_path)
    trial, _ = ask_next(study)
    study.tell(trial, TrialResult(outcome, "why", map50=0.5))
    (stored,) = study._study.trials
    assert stored.state is state
    assert stored.user_attrs["outcome"] == outcome.value
    assert stored.user_attrs["reason"] == "why"


@pytest.mark.parametrize("excess_gib", [-4.0, 0.5, None])
def test_the_constraint_is_the_excess(tmp_path: Path, excess_gib: float | None) -> None:
    study = open_study(tmp_path)
    trial, _ = ask_next(study)
    study.tell(trial, TrialResult(Outcome.COMPLETE, excess_gib=excess_gib, map50=0.5))
    (stored,) = study._study.trials
    assert stored.constraints.get("vram") == excess_gib


def test_a_dashboard_finds_the_names_it_shows(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    trial, _ = ask_next(study)
    memory = MemoryReading(2.5, "simulated", "trace")
    study.tell(trial, TrialResult(Outcome.OVER_BUDGET, "0.50 GiB over", 0.5, memory=memory))
    (stored,) = study._study.trials
    assert study._study.metric_names == ["map50"]
    assert (stored.user_attrs["peak_gib"], stored.user_attrs["reason"]) == (2.5, "0.50 GiB over")


def test_the_best_is_the_best_complete_trial(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    assert study.best() == []
    for result in (complete(0.2), complete(0.4), TrialResult(Outcome.PRUNED, map50=0.9)):
        trial, _ = ask_next(study)
        study.tell(trial, result)
    assert study.best(5) == [Best(1, 0.4), Best(0, 0.2)]


def test_a_study_keeps_its_id_and_one_of_before_ids_gets_one(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    assert (open_study(tmp_path).id, first.older) == (first.id, False)
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as database, database:
        database.execute("DELETE FROM study_user_attributes WHERE key = 'id'")
    given = open_study(tmp_path)
    assert given.older and given.id != first.id
    again = open_study(tmp_path)
    assert (again.id, again.older) == (given.id, True)


def test_a_simulated_study_is_not_continued_by_measurements(tmp_path: Path) -> None:
    open_study(tmp_path)
    for source in (MEASURED, EMULATED):
        with pytest.raises(StudyError, match=f"peaks: simulated before, {source} now"):
            open_study(tmp_path, source=source)


def test_out_of_memory_everywhere_is_no_cell_that_fits(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    trial, _ = ask_next(study)
    study.tell(trial, TrialResult(Outcome.OUT_OF_MEMORY, "boom", LEAST_EXCESS_GIB))
    assert study.nearest_miss().startswith("no cell fits the budget of 24.00 GiB")


def test_another_space_under_the_same_name_is_refused_with_the_difference(tmp_path: Path) -> None:
    open_study(tmp_path)
    other = make_space(DIMENSIONS | {"batch": (2, 4)})
    with pytest.raises(StudyError, match=r"\n  batch: 2,4,8,16 before, 2,4 now\n"):
        open_study(tmp_path, space=other)


def test_changes_are_told_as_one_types_them_also_of_a_key_that_was_swept() -> None:
    before = identity(make_space(), 24.0, SIMULATED)
    settings = compose_settings(["amp=true", "train.lr0=0.5", "train.imgsz=96"])
    cells = tuple(
        Cell((("batch", batch), ("accumulate", 1)), settings, "x") for batch in (2, 4, 8, 16)
    )
    space = Space({"batch": (2, 4, 8, 16), "accumulate": (1,)}, ("amp=true",), cells)
    assert changes(before, identity(space, 24.0, SIMULATED)) == [
        "accumulate: 1,2 before, 1 now",
        "amp: false,true before, true now",
        "train.imgsz: 160 before, 96 now",
        "train.lr0: 0.003 before, 0.5 now",
    ]


def test_of_another_data_set_only_its_name_and_file_are_told() -> None:
    other = compose_settings(["data=custom", "data.yaml=mine/data.yaml", "train.lr0=0.5"])
    space = make_space()
    cells = tuple(replace(cell, settings=other) for cell in space.cells)
    now = identity(replace(space, cells=cells), 24.0, SIMULATED)
    assert changes(identity(space, 24.0, SIMULATED), now) == [
        "data.name: digits before, custom now",
        "data.yaml: null before, mine/data.yaml now",
        "train.imgsz: 160 before, 640 now",
        "train.lr0: 0.003 before, 0.5 now",
    ]
