"""The images that a verification trains on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sweeper.memory.config import MemoryConfig
from sweeper.training.dataset import check_dataset
from sweeper.training.full_images import few_steps, fullest_image

CONFIG = MemoryConfig("yolo11n.yaml", 3, 2, True, False, 64, "SGD", 8.0)


def test_every_image_holds_the_boxes_that_are_predicted_with(tmp_path: Path) -> None:
    spec = few_steps(replace(CONFIG, fullest_image=50), tmp_path, limit_gib=1.0)
    data = check_dataset(Path(spec.data_yaml), 3)
    assert (data.train_images, data.val_images) == (8, 4)
    assert set(data.boxes) == {50}
    with Image.open(tmp_path / "images/train/0.png") as image:
        assert image.size == (64, 64)


def test_accumulation_takes_two_micro_batches(tmp_path: Path) -> None:
    assert few_steps(CONFIG, tmp_path / "a", 1.0).accumulate == 2
    assert few_steps(replace(CONFIG, accumulates=False), tmp_path / "b", 1.0).accumulate == 1


@pytest.mark.parametrize(("mean", "boxes"), [(8.0, 77), (0.0, 1)])
def test_without_labels_the_fullest_image_follows_from_the_mean(mean: float, boxes: int) -> None:
    assert fullest_image(replace(CONFIG, boxes_per_image=mean)) == boxes
