from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeper.tracking import Tracker, read_study
from sweeper.tracking.outbox import Outbox
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.study_record import StudyRecord


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def outbox(uri: str, folder: Path, notes: list[str]) -> Outbox:
    def connect() -> Tracker:
        tracker = Tracker(uri, "x", folder / "artifacts")
        tracker.start_study(StudyRecord("s", 2.0, id="one"), "")
        return tracker

    return Outbox(connect, folder / "trials", notes.append)


def test_what_mlflow_does_not_take_waits_in_its_folder_and_is_sent_later(
    uri: str, make_spec, tmp_path: Path
) -> None:
    notes: list[str] = []
    spec, folder = make_spec(study="s"), TrialFolder.of(tmp_path / "trials", 0)
    folder.prepare(spec)
    down = outbox("http://127.0.0.1:9", tmp_path, notes)
    down.start(spec, folder)
    folder.write_result(result := TrialResult(Outcome.COMPLETE, map50=0.5))
    down.finish(spec, result, folder)
    assert down.waiting() == [folder]
    assert len(notes) == 1 and "kept and sent later" in notes[0]

    up = outbox(uri, tmp_path, notes)
    up.finish_study(done=True)
    assert not up.waiting() and folder.logged.exists()
    (trial,) = read_study(uri, "x", "s").trials
    assert (trial.map50, trial.run_id) == (0.5, folder.run_id.read_text())


def test_a_run_that_was_deleted_is_written_anew(uri: str, make_spec, tmp_path: Path) -> None:
    spec, folder = make_spec(study="s"), TrialFolder.of(tmp_path / "trials", 0)
    folder.prepare(spec)
    box = outbox(uri, tmp_path, [])
    box.start(spec, folder)
    MlflowClient(uri).delete_run(first := folder.run_id.read_text())
    folder.write_result(result := TrialResult(Outcome.COMPLETE, map50=0.5))
    box.finish(spec, result, folder)
    assert folder.run_id.read_text() != first
    assert read_study(uri, "x", "s").trials[0].map50 == 0.5
