"""Parts of a run in processes of their own, against the same run in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.training.checkpoint import CheckpointError, Part, read, write
from sweeper.training.run import run_trial
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Ending
from sweeper.trial.spec import TrialSpec
from tests.training.parts import Twists, train_part
from tests.training.test_run import Link

EPOCHS = 6


class Run:
    """One run, to be trained in one go and in parts."""

    def __init__(self, spec: TrialSpec, root: Path, twists: Twists) -> None:
        self.spec, self.root, self.twists = spec, root, twists

    def in_one_go(self) -> dict[str, Any]:
        return train_part(self.spec, self.root / "whole", None, self.twists)

    def part(self, start: int, until: int, folder: str = "parts", **die: int) -> dict[str, Any]:
        begin = self.checkpoint(start) if start else None
        part = Part(until, begin, self.checkpoint(until), self.checkpoint)
        return train_part(self.spec, self.root / folder, part, replace(self.twists, **die))

    def checkpoint(self, epochs: int) -> Path:
        return self.root / f"after-{epochs}.pt"


@pytest.fixture
def make_run(make_spec, tmp_path: Path) -> Callable[..., Run]:
    def make(
        twists: Twists | None = None, args: dict[str, Any] | None = None, **changes: Any
    ) -> Run:
        train_args = {"lr0": 0.01, "warmup_epochs": 2.0, "close_mosaic": 2, **(args or {})}
        spec = make_spec(**{"epochs": EPOCHS, "train_args": train_args, **changes})
        return Run(spec, tmp_path, twists or Twists())

    return make


def test_killed_and_continued_it_is_the_run_in_one_go(make_run) -> None:
    # Two micro-batches of seven wait for their step between the parts, and the first epoch of the
    # second part has none, so it validates the average of the first. Mosaic ends after that.
    run = make_run(accumulate=7)
    whole = run.in_one_go()
    assert (whole["iterations"], whole["optimizer_steps"]) == (18, 2)
    assert not run.part(0, 3, die_after_epoch=3)
    assert read(run.checkpoint(3))["gradients"]
    assert not run.part(3, EPOCHS, die_in_batch=17, save_between=True)
    assert run.checkpoint(3).exists() and not run.checkpoint(4).exists(), "of a part the newest"
    assert run.part(5, EPOCHS) == whole
    assert not run.checkpoint(EPOCHS).exists(), "nobody goes on from the end"


def test_three_parts_are_the_run_in_one_go(make_run) -> None:
    # Mosaic ends in the second part; three parts because a continued one must pause, too.
    args = {"close_mosaic": 3, "mixup": 0.5, "cutmix": 0.3}
    run = make_run(optimizer="AdamW", batch=3, accumulate=3, args=args)
    whole, first, second = run.in_one_go(), run.part(0, 2), run.part(2, 4)
    assert first["paused"] and second["paused"] and not whole["paused"]
    assert second["reports"] == whole["reports"][:4]
    assert run.part(4, EPOCHS) == whole


def test_amp_goes_on_with_the_scale_it_had(make_run) -> None:
    run = make_run(Twists(scaler=True), accumulate=4, amp=True, epochs=4)
    whole, first = run.in_one_go(), run.part(0, 2)
    assert first["scaler"]["scale"] < whole["scaler"]["scale"]
    assert run.part(2, 4) == whole


def test_workers_that_read_ahead_change_nothing(make_run) -> None:
    # Three micro-batches for two workers, which change places with every epoch. In one go they
    # have read past the epoch in which mosaic ends; the third part begins with it.
    run = make_run(Twists(workers=2), batch=5, args={"multi_scale": 0.5})
    whole = run.in_one_go()
    run.part(0, 2)
    run.part(2, 4)
    assert run.part(4, EPOCHS) == whole


def test_best_weights_and_patience_carry_over_to_another_folder(make_run) -> None:
    fitness = (0.1, 0.4, 0.2, 0.3, 0.35, 0.5)
    args = {"patience": 3}
    # An end-to-end head, whose losses shift from epoch to epoch.
    run = make_run(
        Twists(fitness=fitness), keep_weights=True, args=args, model_file="yolo26n.yaml"
    )
    whole = run.in_one_go()
    assert len(whole["reports"]) == 5 and whole["best_metrics"]["fitness"] == 0.4
    run.part(0, 3)
    assert run.part(3, EPOCHS, folder="elsewhere") == whole


def test_a_checkpoint_of_other_settings_is_refused(make_spec, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "run")
    folder.path.mkdir()
    first = make_spec(until=1)

    facts = run_trial(first, folder, "cpu", Link())
    assert (facts.ending, facts.paused) == (Ending.COMPLETE, True)
    second = replace(first, trained=1, until=None)
    other = replace(second, train_args={**first.train_args, "lr0": 0.02})
    assert "lr0 (0.01, now 0.02)" in run_trial(other, folder, "cpu", Link()).message
    assert "but got 1" in run_trial(replace(second, until=1), folder, "cpu", Link()).message
    facts = run_trial(second, folder, "cpu", Link())
    assert (facts.ending, facts.paused, len(facts.epochs)) == (Ending.COMPLETE, False, 2)
    before, after = facts.epochs
    assert 0 < after.train_time_s < after.epoch_s < after.time - before.time, (
        "not what lay between"
    )


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "after-3.pt"
    write(path, {"model": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"after-3\.pt cannot be read"):
        read(path)
    with pytest.raises(CheckpointError, match=r"after-4\.pt cannot be read"):
        read(tmp_path / "after-4.pt")


def test_a_checkpoint_of_version_0_1_is_read(tmp_path: Path) -> None:
    torch.save({"epochs": 6, "model": {"weight": torch.ones(3)}}, tmp_path / "old.pt")
    assert read(tmp_path / "old.pt")["model"]["weight"].sum() == 3
