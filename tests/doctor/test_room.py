"""The largest batch, as the doctor says it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.doctor.finding import Finding, Level
from sweeper.doctor.room import check_room
from sweeper.memory.verdict import Verdict
from sweeper.plan.inquiry import inquire
from sweeper.plan.predictions import make_plan
from sweeper.study.space import Space, study_space
from tests.conftest import link_traces


@pytest.fixture
def room(tmp_path: Path, traces: Path):
    runs = link_traces(tmp_path / "runs", traces)

    def check(budget_gib: float) -> Finding:
        typed = ["data=coco128", "amp=true", "vram=t4", f"vram.budget_gib={budget_gib}"]
        (found,) = check_room(Space.of(compose_settings([*typed, f"runs_dir={runs}"])))
        return found

    return check


def test_the_largest_batch_that_fits_and_the_tight_one_are_named(room) -> None:
    found = room(3)
    assert found.level is Level.OK
    said = re.fullmatch(
        r"yolo11n at 640 px, amp on, simulated, 8 boxes per image assumed: (\d+) fits 3\.00 GiB "
        r"\((\d+) is tight\)",
        found.text,
    )
    assert said and int(said[1]) < int(said[2])


def test_a_budget_without_room_is_a_warning(room) -> None:
    found = room(0.3)
    assert found.level is Level.WARNING and "not even batch 1 fits 0.30 GiB" in found.text
    assert found.remedy == "Choose a smaller model or data.imgsz."


def test_what_cannot_be_predicted_is_said(tmp_path: Path) -> None:
    settings = compose_settings([f"runs_dir={tmp_path}", "model=custom", "model.file=notes.yaml"])
    (found,) = check_room(Space.of(settings))
    assert found.level is Level.WARNING and "notes.yaml" in found.text


def test_a_fault_of_the_dataset_is_left_to_its_own_finding(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names:\n\t- cat\n")
    typed = ("data=custom", f"data.yaml={tmp_path}/data.yaml", f"runs_dir={tmp_path}")
    (found,) = check_room(Space.of(compose_settings(typed)))
    assert found.text == "what fits is predicted once the dataset has no faults."


def test_each_setup_of_a_study_has_its_line(tmp_path: Path, traces: Path) -> None:
    runs = link_traces(tmp_path / "runs", traces)
    typed = ["data=coco128", "vram=t4", "vram.budget_gib=3", f"runs_dir={runs}"]
    off, on = check_room(study_space([*typed, "batch=2,4", "accumulate=1,2", "amp=false,true"]))
    assert "amp off" in off.text and "amp on" in on.text


@pytest.mark.parametrize("budget_gib", [0.418, 0.44])
def test_what_is_named_fits_where_the_set_is_smaller_than_the_effective_batch(
    tmp_path: Path, traces: Path, budget_gib: float
) -> None:
    """The peak dips at 16, which 15 images never reach."""
    digits = ("data=digits", "data.digits.train=15", "data.digits.val=2", "data.imgsz=64")
    card = ("vram=t4", f"vram.budget_gib={budget_gib}", "amp=false", "batch=1", "accumulate=1")
    runs = link_traces(tmp_path / "runs", traces)
    space = study_space([*digits, *card, f"runs_dir={runs}"])
    plan = make_plan(inquire(space), runs / "cache/vram")
    (found,) = plan.found.values()
    assert found.largest is not None and found.largest.verdict is Verdict.FITS
    assert found.tight is not None and found.tight.verdict is not Verdict.NO
