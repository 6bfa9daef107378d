"""Several drivers of one study: real processes on one SQLite file and one MLflow database."""

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeper.config.compose import compose_settings
from sweeper.errors import SettingsError, StudyError
from sweeper.study import earlier
from sweeper.study.lease import study_lease
from sweeper.study.outcomes import outcome_of
from sweeper.study.run import run_study
from sweeper.study.space import Cell, Space
from sweeper.tracking import Tracker, read_study
from sweeper.trial.record import ChildFacts, Outcome, TrialResult
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder
from tests.study.fakes import TableExecutor
from tests.study.test_lease import SPAWN
from tests.study.test_loop import SPACE, Study, _mlflow, by_memory, peak_gib  # noqa: F401
from tests.study.test_optuna_study import complete

DIES_AT = 3  # trials


def drive(study: Study, dies: bool, answer: Connection) -> None:
    """Run the study along with others; say which cells were run here."""

    def train(spec: TrialSpec) -> ChildFacts:
        time.sleep(0.02)
        answer.send(spec.label)
        if dies and len(executor.ran) == DIES_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return by_memory(spec)

    executor = TableExecutor(train)
    with study_lease("s", f"sqlite:///{study.folder}/optuna.db", join=True) as study.lease:
        assert study.run(executor)
    answer.send("done")


def ran(ours: Connection) -> list[str]:
    """What a driver sent until it ended."""
    sent = []
    try:
        while not sent or sent[-1] != "done":
            sent.append(ours.recv())
    except EOFError:
        pass
    return sent


@pytest.fixture
def study(tmp_path: Path, make_spec) -> Study:
    study = Study(tmp_path, partial(replace, make_spec()))  # other processes get it, too
    study.open()
    return study


@pytest.mark.parametrize("dying", [0, 1])
def test_each_cell_runs_once_also_where_a_driver_dies(study: Study, dying: int) -> None:
    pipes = [SPAWN.Pipe() for _ in range(3)]
    drivers = [
        SPAWN.Process(target=drive, args=(study, i < dying, theirs))
        for i, (_, theirs) in enumerate(pipes)
    ]
    for driver, (_, theirs) in zip(drivers, pipes, strict=True):
        driver.start()
        theirs.close()
    sent = [ran(ours) for ours, _ in pipes]
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers[dying:]] == [0] * (3 - dying)
    cells = Counter(label for labels in sent for label in labels if label != "done")
    twice = {sent[0][-1]} if dying and len(sent[0]) == DIES_AT else set()
    assert {label for label, count in cells.items() if count > 1} <= twice
    stored = study.open().stored_trials()
    assert all(t.state.is_finished() for t in stored)
    ended = [(t, outcome_of(t)) for t in stored]
    decided = Counter(str(t.params) for t, outcome in ended if not outcome.runs_again)
    assert len(decided) == 24 and set(decided.values()) == {1}
    outbox = study.outbox()  # the next start sends what a locked database did not take
    outbox.send_waiting()
    assert outbox.drain() and not outbox.waiting()
    logged = Counter(t.number for t in read_study(study.uri, "x", "s").trials if t.outcome)
    assert set(logged.values()) == {1} and len(logged) in {24, 25}


def test_of_two_that_want_a_cell_the_first_has_it(study: Study) -> None:
    url = f"sqlite:///{study.folder}/optuna.db"
    with ExitStack() as held:
        drivers = []
        for _ in range(2):
            study.lease = held.enter_context(study_lease("s", url, join=True))
            drivers.append(study.open())
        one, other = drivers
        trial, cell = one.ask(SPACE.cells[0])
        assert other.ask(SPACE.cells[0]) is None and not other.is_open(cell)
        other.ask(SPACE.cells[1])
        assert one.ask(SPACE.cells[1]) is None
        assert (one.elsewhere, other.elsewhere) == (1, 1)
        one.tell(trial, complete(0.5))
        assert other.news()[0].number == trial.number and other.finished == 1
        again, _ = one.ask(SPACE.cells[2])
        one.tell(again, TrialResult(Outcome.INTERRUPTED, "stopped"))
        other.news()
        assert other.is_open(SPACE.cells[2]), "who stopped it leaves it to the others"
        assert not one.is_open(SPACE.cells[2])
        with pytest.raises(StudyError, match="is being run by"):
            held.enter_context(study_lease("s", url))


def test_drivers_that_start_at_once_make_one_mlflow_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new.db"
    drivers = [SPAWN.Process(target=Tracker, args=(uri, f"x{i}", tmp_path)) for i in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0, 0]
    names = {experiment.name for experiment in MlflowClient(uri).search_experiments()}
    assert names == {"Default", "x0", "x1"}


def test_a_folder_that_is_not_shared_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(earlier, "FOLDER_PATIENCE_S", 0.0)
    with pytest.raises(StudyError, match="need one runs_dir"):
        earlier.await_shared_folder(StudyFolder(tmp_path / "s"), "one")


def test_rungs_are_refused() -> None:
    settings = compose_settings(["study.join=true", "study.rungs=[1,2]"])
    with pytest.raises(SettingsError, match=r"study\.join=true needs study\.rungs=\[\]"):
        run_study(Space({"batch": (4,)}, (), (Cell((("batch", 4),), settings, "x"),)))
