"""Weights to start from: here, to be had, or said to be missing before a trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.config.settings import ModelSettings
from sweeper.errors import SettingsError
from sweeper.training.weights import require_weights
from tests.forks import Commands

PRETRAINED = ModelSettings("yolo11n", pretrained=True)


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_weights_that_cannot_be_had_are_named_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        require_weights(PRETRAINED)
    said = str(raised.value)
    assert said.startswith(
        f"model.pretrained=true: yolo11n.pt is not in {tmp_path}, and it could "
    )
    assert "Download failure for https://" in said
    assert said.endswith("model=custom model.file=PATH/yolo11n.pt.")


def test_weights_that_ultralytics_does_not_have_are_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^model\.file=w/mine\.pt is not in .*/w, and Ultra"):
        require_weights(ModelSettings("custom", file="w/mine.pt"))


def test_weights_are_found_where_ultralytics_looks(tmp_path: Path, monkeypatch) -> None:
    """Beside the command, or in the folder of its settings."""
    config, weights = tmp_path / "config/Ultralytics", tmp_path / "w"
    for folder in (config, weights):
        folder.mkdir(parents=True)
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(config.parent))
    (config / "settings.json").write_text(json.dumps({"weights_dir": str(weights)}))
    (weights / "yolo11n.pt").touch()
    require_weights(PRETRAINED)
    (weights / "yolo11n.pt").rename("yolo11n.pt")
    monkeypatch.setattr("sweeper.training.weights.run_script", None)  # there is no need
    require_weights(PRETRAINED)


def test_no_trial_begins_without_its_weights(command: Commands, tmp_path: Path) -> None:
    wanted = ["model.pretrained=true", "batch=4", "accumulate=1", "vram=t4"]
    for study in ([], ["-m"]):
        ended = command(tmp_path, *study, *wanted)
        assert ended.code == 1 and "model.pretrained=true: yolo11n.pt is not in" in ended.err
    assert not list(tmp_path.rglob("spec.json"))
