"""The outbox against real servers: MLflow's own, a closed port, and one that never answers."""

import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeper.tracking import Tracker, outbox, read_study
from sweeper.tracking.outbox import Outbox
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.study_record import StudyRecord
from tests.study.fakes import epochs_of

COMPLETE = TrialResult(Outcome.COMPLETE, map50=0.5)


@pytest.fixture
def uri(tmp_path: Path, empty_mlflow: Path) -> str:
    shutil.copy(empty_mlflow, tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class Server:
    """MLflow's own server, which can lose its answer to a request.

    Attributes:
        lose: The end of the path whose next answer is lost.
    """

    def __init__(self, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from mlflow import server
        from mlflow.server import handlers
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        monkeypatch.setattr(handlers, "_tracking_store", None)
        monkeypatch.setenv(server.BACKEND_STORE_URI_ENV_VAR, uri)
        monkeypatch.setenv(server.ARTIFACT_ROOT_ENV_VAR, str(folder / "artifacts"))
        self._app, self.lose = server.app, ""
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.uri = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ, start_response):
        answer = list(self._app(environ, start_response))
        if self.lose and environ["PATH_INFO"].endswith(self.lose):
            self.lose = ""
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer


@pytest.fixture
def server(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(uri, tmp_path, monkeypatch)
    yield server
    server.close()


def make_outbox(uri: str, folder: Path, notes: list[str], patience_s: float = 60.0) -> Outbox:
    def connect() -> Tracker:
        tracker = Tracker(uri, "x", folder / "artifacts")
        tracker.start_study(StudyRecord("s", 2.0, id="one"), "")
        return tracker

    return Outbox(connect, folder / "trials", notes.append, patience_s)


def test_what_mlflow_does_not_take_waits_in_its_folder_and_is_sent_later(
    uri: str, make_spec, tmp_path: Path
) -> None:
    notes: list[str] = []
    spec, folder = make_spec(study="s"), TrialFolder.of(tmp_path / "trials", 0)
    folder.prepare(spec)
    down = make_outbox("http://127.0.0.1:9", tmp_path, notes)
    down.start(spec, folder)
    folder.write_result(COMPLETE)
    down.finish(spec, COMPLETE, folder)
    assert down.drain() and down.waiting() == [folder]
    assert len(notes) == 1 and "kept and sent later" in notes[0]

    up = make_outbox(uri, tmp_path, notes)
    assert up.finish_study(done=True)
    assert not up.waiting() and folder.logged.exists()
    (trial,) = read_study(uri, "x", "s").trials
    assert (trial.map50, trial.run_id) == (0.5, folder.read_run_id())


def test_a_run_that_was_deleted_is_written_anew(uri: str, make_spec, tmp_path: Path) -> None:
    spec, folder = make_spec(study="s"), TrialFolder.of(tmp_path / "trials", 0)
    folder.prepare(spec)
    box = make_outbox(uri, tmp_path, [])
    box.start(spec, folder)
    box.drain()
    MlflowClient(uri).delete_run(first := folder.run_id.read_text())
    folder.write_result(COMPLETE)
    box.finish(spec, COMPLETE, folder)
    box.drain()
    assert folder.read_run_id() != first
    assert read_study(uri, "x", "s").trials[0].map50 == 0.5


@pytest.mark.filterwarnings("ignore:starlette")  # what MLflow's server is made of
@pytest.mark.parametrize("lost", ["runs/create", "runs/log-batch"])
def test_an_answer_that_is_lost_doubles_no_run(
    server: Server, make_spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", 0.0)
    notes: list[str] = []
    spec, folder = make_spec(study="s"), TrialFolder.of(tmp_path / "trials", 0)
    folder.prepare(spec)
    box = make_outbox(server.uri, tmp_path, notes)
    box.close_orphans()  # opens the parent run
    assert box.drain() and not notes
    server.lose = lost
    box.start(spec, folder)
    assert box.drain() and "takes no records" in notes[0] and not server.lose
    assert folder.read_run_id() == "" or lost != "runs/create"
    folder.write_result(COMPLETE)
    box.finish(spec, COMPLETE, folder)
    assert box.finish_study(done=True)
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("x").experiment_id
    (run,) = client.search_runs([experiment], "tags.kind = 'trial'")
    assert run.info.run_id == folder.read_run_id() and run.info.status == "FINISHED"
    assert run.data.params["batch"] == "4" and run.data.metrics["map50"] == 0.5


def test_a_server_that_never_answers_is_waited_for_by_nobody(make_spec, tmp_path: Path) -> None:
    spec, folder = make_spec(study="s"), TrialFolder.of(tmp_path / "trials", 0)
    folder.prepare(spec)
    notes: list[str] = []
    with silent_server() as uri:
        box = make_outbox(uri, tmp_path, notes, patience_s=0.5)
        started = time.monotonic()
        box.start(spec, folder)
        (report,) = epochs_of([0.5])
        box.epoch(folder, report)
        folder.write_result(COMPLETE)
        box.finish(spec, COMPLETE, folder)
        assert time.monotonic() - started < 0.5, "a slot and a time-out wait for these"
        assert not box.finish_study(done=False), "it takes nothing now"
        assert time.monotonic() - started < 5, "MLflow's own time-out is 10 s"
        assert box.waiting() == [folder]
        assert notes == ["1 finished trials are not in MLflow yet; the same command sends them"]


def test_what_cannot_be_read_is_heard_of_by_the_study(uri: str, tmp_path: Path) -> None:
    folder = TrialFolder.of(tmp_path / "trials", 0)
    folder.path.mkdir(parents=True)
    (folder.path / "spec.json").write_text("{")
    folder.write_result(COMPLETE)
    box = make_outbox(uri, tmp_path, [])
    box.send_waiting()
    with pytest.raises(Exception, match=r"spec\.json cannot be read"):
        box.drain()
