"""Host memory, versions and the user's Ultralytics settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.doctor import machine
from sweeper.doctor.finding import Level
from sweeper.training import weights


@pytest.fixture
def user_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    path = tmp_path / "Ultralytics" / "settings.json"
    path.parent.mkdir()
    return path


def test_an_integration_that_would_log_twice_is_named(
    user_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(machine.INTEGRATIONS, "wandb", "json")  # a package that is there
    user_settings.write_text(json.dumps({"wandb": True, "mlflow": True}))
    found = machine.check_ultralytics(compose_settings([]))
    assert found.level is Level.WARNING
    assert "yolo settings wandb=False" in found.remedy


def test_mlflow_is_no_concern(user_settings: Path) -> None:
    user_settings.write_text(json.dumps({"mlflow": True}))
    found = machine.check_ultralytics(compose_settings([]))
    assert found.level is Level.OK
    assert "mlflow=True is switched off" in found.text


def test_a_missing_datasets_folder_matters_only_to_a_download(user_settings: Path) -> None:
    user_settings.write_text(json.dumps({"datasets_dir": "/nowhere"}))
    assert machine.check_ultralytics(compose_settings([])).level is Level.OK
    found = machine.check_ultralytics(compose_settings(["data=coco8"]))
    assert "datasets_dir=/nowhere" in found.text


def test_a_broken_settings_file_is_a_warning(user_settings: Path) -> None:
    user_settings.write_text("{")
    assert machine.check_ultralytics(compose_settings([])).level is Level.WARNING


def test_a_version_outside_the_range_is_named() -> None:
    assert machine._outside("numpy>=1") == ""
    assert machine._outside("numpy>=99").startswith("numpy ")
    assert machine._outside("no-such-package>=1") == "no-such-package is missing"
    assert machine._outside('no-such-package>=1; extra == "dev"') == ""


def test_more_trials_than_host_memory_is_a_warning() -> None:
    assert 0 < machine.available_gib() < 1e5
    found = machine.check_host_memory(10**6)
    assert found.level is Level.WARNING
    assert "GiB free; 1,000,000 trials at once take about 2000000 GiB." in found.text
    assert "GiB free; 1 trial takes about 2 GiB" in machine.check_host_memory(1).text


def test_weights_that_are_wanted_are_at_hand_or_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "run_script", lambda *_: False)
    own = compose_settings(["model=custom", "model.file=mine.pt"])
    assert machine.check_weights(compose_settings([])) == []
    (found,) = machine.check_weights(own)
    assert found.level is Level.FAILURE and "model.file=mine.pt is not in" in found.text
    Path("mine.pt").touch()
    assert [f.level for f in machine.check_weights(own)] == [Level.OK]
