"""From settings to what a child trains and what is printed for it."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.compose import compose_settings
from sweeper.memory.cards import find_budget
from sweeper.study.specs import SpecBuilder
from sweeper.trial.command import yolo_command


def test_the_printed_command_carries_the_scaled_learning_rate(
    tiny_data: Path, tmp_path: Path
) -> None:
    asked = ["data=custom", f"data.yaml={tiny_data}", f"runs_dir={tmp_path}", "vram=t4"]
    asked += ["batch=4", "accumulate=2", "train.lr0=0.003", "train.lr0_batch=4"]
    settings = compose_settings([*asked, "train.lr_scaling=sqrt"])
    builder = SpecBuilder("s", find_budget(settings.vram, None), threads=1)
    command = yolo_command(builder.build(settings, "x"))
    assert " lr0=0.004243 " in command
    assert "lr_scaling" not in command and "lr0_batch" not in command
