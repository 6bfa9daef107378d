"""The doctor as a user runs it, and as a study does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.doctor import machine
from sweeper.doctor.checks import quick_check, require_health
from sweeper.doctor.finding import Level
from sweeper.errors import MachineError
from sweeper.study.space import study_space
from tests.forks import Commands
from tests.test_end_to_end import SMALL, sweeper


def test_a_healthy_machine_exits_with_0(tmp_path: Path) -> None:
    done = sweeper(tmp_path, "batch=2,4", "accumulate=2", *SMALL, module="sweeper.doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {line.split()[1] for line in done.stdout.splitlines()}
    assert checks >= {
        "gpu",
        "torch",
        "disk",
        "dataset",
        "batch",
        "storage",
        "tracking",
        "versions",
    }
    assert not list(tmp_path.rglob("*.db"))


def test_a_failure_exits_with_1_and_json_holds_every_line(
    command: Commands, tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("a file")
    done = command(tmp_path, "--json", *SMALL, module="sweeper.doctor")
    assert done.code == 1
    document = json.loads(done.out)
    assert document["ok"] is False
    failed = [f for f in document["findings"] if f["level"] == "failure"]
    assert {f["check"] for f in failed} == {"disk", "dataset", "storage", "tracking"}
    assert all(f["remedy"] for f in failed)


def test_a_bad_override_is_one_message(command: Commands, tmp_path: Path) -> None:
    done = command(tmp_path, "batch=0", module="sweeper.doctor")
    assert done.code == 1
    assert done.err == "error: batch must be at least 1 but got 0. Set batch=1 or more.\n"


def test_several_cards_are_refused_as_in_a_study(command: Commands, tmp_path: Path) -> None:
    done = command(tmp_path, "vram=t4,rtx3090", module="sweeper.doctor")
    assert done.code == 1
    assert done.err.startswith("error: vram holds for the whole study and cannot be swept")


def test_the_quick_part_finds_nothing(tmp_path: Path) -> None:
    space = study_space([f"runs_dir={tmp_path}"])
    assert {f.level for f in quick_check(space)} == {Level.OK}


def test_a_study_says_which_versions_were_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "version", lambda name: "2.1.0")
    (line,) = require_health(study_space([f"runs_dir={tmp_path}"]))
    assert "outside the tested range" in line and "torch 2.1.0 (tested: " in line


def test_a_study_stops_before_it_starts(
    command: Commands, tmp_path: Path, closed_port: int
) -> None:
    server = f"tracking.uri=http://127.0.0.1:{closed_port}"
    storage = f"study.storage=postgresql://127.0.0.1:{closed_port}/x"
    done = command(tmp_path, "-m", "batch=2,4", server, storage, *SMALL)
    assert done.code == 1
    assert "storage: " in done.err
    assert "doctor=false" not in done.err, "it would not help"
    assert "tracking: " not in done.err, "a study goes on without MLflow"
    assert not (tmp_path / "runs").exists()


def test_the_check_can_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    broken = study_space([f"runs_dir={tmp_path}/runs"])
    with pytest.raises(MachineError, match="runs_dir="):
        require_health(broken)
    assert require_health(study_space([f"runs_dir={tmp_path}/runs", "doctor=false"])) == []
