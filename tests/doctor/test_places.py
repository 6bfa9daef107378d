"""Storage, tracking and disk against real faults."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from sweeper.config.compose import compose_settings
from sweeper.config.settings import Settings
from sweeper.doctor import places
from sweeper.doctor.finding import Level
from sweeper.study.space import Space, study_space
from sweeper.study.storage import open_storage, storage_fault


def settings(folder: Path, *overrides: str) -> Settings:
    return compose_settings([f"runs_dir={folder}", *overrides])


def space(folder: Path, *overrides: str) -> Space:
    return study_space([f"runs_dir={folder}", *overrides])


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB with no byte left."""
    folder = tmp_path / "full"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_nothing_is_left_of_the_checks(tmp_path: Path) -> None:
    fresh = settings(tmp_path / "runs")
    for check in (places.check_storage, places.check_tracking):
        assert check(fresh).level is Level.OK
    assert places.check_disk(space(tmp_path / "runs")).level is Level.OK
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("I am a file")
    here = settings(tmp_path / "runs")
    for found in (places.check_disk(Space.of(here)), places.check_storage(here)):
        assert found.level is Level.FAILURE
        assert "is a file, not a folder" in found.text
    assert places.check_tracking(here).level is Level.FAILURE


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_without_permission_is_a_failure(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    found = places.check_disk(space(tmp_path / "runs"))
    assert found.level is Level.FAILURE
    assert "Permission denied" in found.text


def test_a_full_disk_is_a_failure(full_disk: Path) -> None:
    found = places.check_disk(space(full_disk))
    assert found.level is Level.FAILURE
    assert "No space left on device" in found.text
    assert places.check_storage(settings(full_disk)).level is Level.FAILURE


def test_a_file_system_without_working_locks_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, asked = settings(tmp_path), []
    assert places.check_storage(here).level is Level.OK
    monkeypatch.setattr(places.fcntl, "fcntl", lambda *lock: asked.append(lock))
    assert "grants a lock twice" in places.check_storage(here).text
    assert len(asked) == 2

    def refuse(*lock: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(places.fcntl, "fcntl", refuse)
    found = places.check_tracking(here)
    assert found.level is Level.FAILURE
    assert "has no locks (No locks available)" in found.text


def test_more_checkpoints_than_space_is_a_failure(tmp_path: Path) -> None:
    found = places.check_disk(
        space(tmp_path, "model=yolo11n,yolo11x", "train.save_period=1", "train.epochs=100000")
    )
    assert found.level is Level.FAILURE
    assert "train.save_period=-1" in found.remedy


def test_the_trials_are_those_that_the_study_will_run(tmp_path: Path) -> None:
    def trials(*overrides: str) -> str:
        return places.check_disk(space(tmp_path, *overrides)).text.partition("free, ")[2]

    assert trials().startswith("24 trials will write")
    assert trials("study.effective_batch=16").startswith("6 trials")
    assert trials("batch=2,4", "accumulate=1", "amp=false").startswith("2 trials")
    assert trials("study.n_trials=5").startswith("5 trials")
    assert trials("study.n_trials=99", "study.confirm.top=2").startswith("30 trials")


def test_only_checkpoints_that_are_kept_are_counted(tmp_path: Path) -> None:
    def count(*overrides: str) -> int:
        epochs = ("train.epochs=10", "study.rungs=[]")
        return places.study_bytes(settings(tmp_path, *epochs, *overrides), 2)

    assert count() == 2 * places.RECORDS_MIB * places.MIB
    kept = count("study.keep_best=true") - count()
    assert count("train.save_period=5") - count() == 2 * kept  # two more beside best and last
    assert count("study.rungs=[3]") - count() > 2 * kept / 2, "each trial waits with its state"


def test_an_existing_database_is_written_and_left_as_it_was(tmp_path: Path) -> None:
    here = settings(tmp_path)
    optuna.create_study(storage=open_storage(here.storage_url), study_name="mine")
    assert places.check_storage(here).level is Level.OK
    assert optuna.get_all_study_names(open_storage(here.storage_url)) == ["mine"]
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as database:
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'swe%'")
    assert tables == (0,)


def test_a_database_that_is_none_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database at all, but long enough to look like one")
    found = places.check_storage(settings(tmp_path))
    assert found.level is Level.FAILURE
    assert "not a database" in found.text


def test_a_locked_database_is_a_failure(tmp_path: Path) -> None:
    here = settings(tmp_path)
    optuna.create_study(storage=open_storage(here.storage_url))
    with closing(sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found = places.check_storage(here)
    assert found.level is Level.FAILURE
    assert "locked" in found.text


@pytest.mark.timeout(60)
def test_a_dead_server_is_noticed_at_once(tmp_path: Path, closed_port: int) -> None:
    tracking = places.check_tracking(
        settings(tmp_path, f"tracking.uri=http://127.0.0.1:{closed_port}")
    )
    storage = places.check_storage(
        settings(tmp_path, f"study.storage=postgresql://me:secret@127.0.0.1:{closed_port}/x")
    )
    assert (tracking.level, storage.level) == (Level.FAILURE, Level.FAILURE)
    assert "no server answers there" in tracking.text
    assert "secret" not in storage.text


def test_a_server_that_is_no_mlflow_is_a_failure(tmp_path: Path, nonsense_server: str) -> None:
    found = places.check_tracking(settings(tmp_path, f"tracking.uri={nonsense_server}"))
    assert found.level is Level.FAILURE
    assert "cannot be written" in found.text


def test_a_tag_is_written_to_a_store_that_is_no_file_and_removed(tmp_path: Path) -> None:
    from sweeper.tracking.write_check import DEFAULT_EXPERIMENT, tracking_fault

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_fault(uri) == ""
    assert not MlflowClient(uri).get_experiment(DEFAULT_EXPERIMENT).tags


def test_a_study_is_written_to_optuna_and_removed(tmp_path: Path) -> None:

    url = f"sqlite:///{tmp_path}/optuna.db"
    assert storage_fault(url) == ""
    assert optuna.get_all_study_names(open_storage(url)) == []
    assert "parse" in storage_fault("nonsense")
