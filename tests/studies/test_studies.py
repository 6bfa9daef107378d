"""Studies listed, shown and removed, in real databases."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from sweeper.config.compose import compose_settings
from sweeper.errors import StudyError
from sweeper.studies.listing import list_studies, show_study
from sweeper.studies.removal import remove_study
from sweeper.study.lease import study_lease
from sweeper.study.optuna_study import ID
from sweeper.study.storage import open_storage
from sweeper.study.stored import StoredStudies
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import StudyStatus
from tests.forks import Commands
from tests.report.synthetic import ARTICLE, write_study


def write(runs: Path, name: str, done: bool | None = True, rows=ARTICLE[:2], stored=True) -> None:
    """A study in all three places, under an id of its own."""
    write_study(runs, rows, name, done, id=f"id-{name}")
    if stored:
        study = optuna.create_study(study_name=name, storage=open_storage(url(runs)))
        study.set_user_attr(ID, f"id-{name}")


def url(runs: Path) -> str:
    return f"sqlite:///{runs}/optuna.db"


def settings(runs: Path, *overrides: str):
    return compose_settings([f"runs_dir={runs}", *overrides])


def stored(runs: Path) -> list[str]:
    return sorted(optuna.get_all_study_names(open_storage(url(runs))))


def logged(runs: Path) -> set[str]:
    """Names of the studies that have runs in MLflow's lists."""
    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'sweeper'")
    return {run.data.tags["study"] for run in client.search_runs([experiment.experiment_id])}


def row_of(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.startswith(name))


def test_the_list_says_how_far_each_is_and_what_it_answers(tmp_path: Path) -> None:
    write(tmp_path, "done", rows=ARTICLE)
    write(tmp_path, "stopped", done=False)
    write(tmp_path, "killed", done=None, rows=ARTICLE[:1])
    lines = list_studies(settings(tmp_path))
    assert "finished  7 of 7      b4×a4 amp, mAP@0.5 0.419 (" in row_of(lines, "done")
    assert "stopped   2 of 7      b8×a1, mAP@0.5 0.405 (" in row_of(lines, "stopped")
    assert "cut off   1 of 7      Nothing fits 23.65 GiB" in row_of(lines, "killed")
    assert all(row_of(lines, name).endswith(" KiB") for name in ("done", "stopped", "killed"))


def test_a_study_that_runs_is_said_to_and_by_whom(tmp_path: Path) -> None:
    write(tmp_path, "busy", done=None)
    with study_lease("busy", url(tmp_path)):
        assert " running " in row_of(list_studies(settings(tmp_path)), "busy")
        assert "running by " in row_of(show_study(settings(tmp_path), "busy"), "state")
    assert " cut off " in row_of(list_studies(settings(tmp_path)), "busy")


def test_a_study_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path, "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/study.json").write_text("{")
    lines = list_studies(settings(tmp_path))
    assert row_of(lines, "good") and any("bad/study.json" in line for line in lines)


def test_single_runs_are_no_study(tmp_path: Path) -> None:
    write(tmp_path, "mine")
    write(tmp_path, "single", stored=False)
    lines = list_studies(settings(tmp_path))
    assert row_of(lines, "mine") and not any(line.startswith("single") for line in lines)
    assert f"2 single runs without a study: {tmp_path}/single, " in row_of(lines, "2 single")
    shutil.rmtree(tmp_path / "mine")
    assert [line.split(":")[0] for line in list_studies(settings(tmp_path))] == [
        "2 single runs without a study",
        f"no study under runs_dir={tmp_path}. One to begin with",
    ]


def test_listing_makes_no_database(tmp_path: Path) -> None:
    assert "no study under runs_dir=" in list_studies(settings(tmp_path))[0]
    assert not list(tmp_path.iterdir())


def test_one_study_is_removed_from_all_places_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, "mine")
    write(tmp_path, "mine2")
    said = remove_study(settings(tmp_path), "mine")
    assert said[0] == "removed mine" and "3 runs in sqlite:///" in said[3]
    assert not (tmp_path / "mine").exists() and (tmp_path / "mine2/study.json").exists()
    assert (stored(tmp_path), logged(tmp_path)) == (["mine2"], {"mine2"})


def test_a_study_that_runs_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path, "busy", done=None)
    with (
        study_lease("busy", url(tmp_path)),
        pytest.raises(
            StudyError, match=r"study\.name=busy is being run by .*, process \d+\. Stop"
        ),
    ):
        remove_study(settings(tmp_path), "busy")
    assert (stored(tmp_path), logged(tmp_path)) == (["busy"], {"busy"})
    assert StudyFolder(tmp_path / "busy").has_trials
    remove_study(settings(tmp_path), "busy")
    assert not (tmp_path / "busy").exists()


def test_a_study_whose_driver_nobody_can_tell_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere", done=None, stored=False)
    with pytest.raises(StudyError, match=r"study\.storage=.* does not know it"):
        remove_study(settings(tmp_path), "elsewhere")
    StudyFolder(tmp_path / "elsewhere").write_end(StudyStatus.KILLED)
    assert "did not know it" in remove_study(settings(tmp_path), "elsewhere")[2]


def test_another_study_of_the_name_in_the_storage_stays(tmp_path: Path) -> None:
    write(tmp_path, "mine", stored=False)
    optuna.create_study(study_name="mine", storage=open_storage(url(tmp_path)))
    remove_study(settings(tmp_path), "mine")
    assert stored(tmp_path) == ["mine"]


def test_a_link_or_a_copy_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path, "mine")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/study.json").write_text((tmp_path / "mine/study.json").read_text())
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("copy", "link"):
        with pytest.raises(StudyError, match="Remove the folder by hand"):
            remove_study(settings(tmp_path), name)
    assert (stored(tmp_path), logged(tmp_path)) == (["mine"], {"mine"})


def test_nothing_is_removed_where_mlflow_does_not_answer(tmp_path: Path) -> None:
    write(tmp_path, "mine")
    down = f"tracking.uri=sqlite:///{tmp_path}/mine/study.json"
    with pytest.raises(StudyError, match=r"tracking\.uri=.* does not answer"):
        remove_study(settings(tmp_path, down), "mine")
    assert stored(tmp_path) == ["mine"] and StudyFolder(tmp_path / "mine").has_trials


def test_a_locked_database_is_one_message(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, "mine")
    record = StudyFolder(tmp_path / "mine").read()
    assert record is not None
    monkeypatch.setattr("sweeper.study.stored.PATIENCE_S", 0.1)
    opened = StoredStudies(url(tmp_path))
    other = sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    said = r"study\.storage=sqlite:///.*: database is locked\. .* lsof /.*/optuna\.db names it"
    for ask in (
        lambda: opened.drivers(record),
        lambda: list_studies(settings(tmp_path)),
        lambda: remove_study(settings(tmp_path), "mine"),
    ):
        with pytest.raises(StudyError, match=said):
            ask()
    other.close()
    assert stored(tmp_path) == ["mine"] and StudyFolder(tmp_path / "mine").has_trials
    assert opened.drivers(record) == []


def test_bad_commands_are_one_message(command: Commands, tmp_path: Path) -> None:
    unnamed = command(tmp_path, "studies.remove=true", module="sweeper.studies")
    assert unnamed.code == 1 and "Name it: study.name=NAME" in unnamed.err
    unknown = command(tmp_path, "study.name=no", "studies.remove=true", module="sweeper.studies")
    assert unknown.code == 1 and "study.name=no is not under runs_dir=runs" in unknown.err
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/study.json").touch()
    for module in ("sweeper.studies", "sweeper.report", "sweeper.deploy"):
        typed = command(tmp_path, "study.name=demmo", module=module)
        assert typed.code == 1 and " Did you mean study.name=demo?" in typed.err
    outside = command(tmp_path, "study.name=../x", "studies.remove=true", module="sweeper.studies")
    assert outside.code == 1 and "study.name must be a folder name" in outside.err
