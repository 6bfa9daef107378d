"""Validation in smaller batches of the very same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics.models.yolo.detect import DetectionValidator

from sweeper.trial.record import Outcome
from tests.training.test_run import train

# Of the validation images, in pixels: wide, tall and square ones.
SIDES = ((64, 64), (64, 36), (36, 64), (64, 48), (48, 64), (64, 20), (20, 64))


@pytest.fixture
def mixed(tiny_data: Path, tmp_path: Path) -> Path:
    """The data.yaml of the tiny data set, with validation images of all shapes."""
    images, labels = (tmp_path / kind / "val" for kind in ("images", "labels"))
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    scenes = sorted((tiny_data.parent / "images" / "val").iterdir())
    for number, sides in enumerate(SIDES):
        Image.open(scenes[number % len(scenes)]).resize(sides).save(images / f"{number}.png")
        (labels / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    content = {
        "train": str(tiny_data.parent / "images" / "train"),
        "val": str(images),
        "names": [str(number) for number in range(10)],
    }
    (tmp_path / "data.yaml").write_text(json.dumps(content))
    return tmp_path / "data.yaml"


class Seen:
    """What a validation looks at, and what it finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.images: dict[str, torch.Tensor] = {}
        self.stats: dict[str, Any] = {}
        preprocess, get_stats = DetectionValidator.preprocess, DetectionValidator.get_stats

        def look(validator: Any, batch: Any) -> Any:
            batch = preprocess(validator, batch)
            self.sizes.append(len(batch["img"]))
            self.images |= zip(batch["im_file"], batch["img"].clone(), strict=True)
            return batch

        def find(validator: Any) -> Any:
            stats = validator.metrics.stats
            self.stats = {name: np.concatenate(stats[name]) for name in ("tp", "conf")}
            return get_stats(validator)

        monkeypatch.setattr(DetectionValidator, "preprocess", look)
        monkeypatch.setattr(DetectionValidator, "get_stats", find)


def test_every_cell_validates_the_very_same_images(make_spec, mixed: Path, tmp_path: Path) -> None:
    found = []
    for batch in (1, 2, 4):
        with pytest.MonkeyPatch.context() as patch:
            found.append(Seen(patch))
            spec = make_spec(batch=batch, epochs=1, data_yaml=str(mixed))
            assert train(spec, tmp_path / str(batch)).outcome is Outcome.COMPLETE
    one, *others = found
    assert [seen.sizes for seen in found] == [[2, 2, 2, 1], [4, 3], [7]]
    assert len(one.images) == len(SIDES)
    for other in others:
        assert one.images.keys() == other.images.keys()
        assert all(torch.equal(image, other.images[file]) for file, image in one.images.items())


def test_metrics_are_those_of_validation_at_twice_the_batch(
    make_spec, mixed: Path, tmp_path: Path
) -> None:
    found = []
    for val_batch in (None, 3):
        with pytest.MonkeyPatch.context() as patch:
            seen = Seen(patch)
            spec = make_spec(batch=2, epochs=1, val_batch=val_batch, data_yaml=str(mixed))
            result = train(spec, tmp_path / str(val_batch))
            assert result.outcome is Outcome.COMPLETE, result.reason
            found.append((seen, result))
    (whole, plain), (parts, split) = found
    assert (whole.sizes, parts.sizes) == ([4, 3], [3, 3, 1])
    assert whole.images.keys() == parts.images.keys()
    assert all(torch.equal(image, parts.images[file]) for file, image in whole.images.items())
    assert len(whole.stats["conf"]) > 100
    assert np.allclose(whole.stats["conf"], parts.stats["conf"], rtol=1e-4)
    assert np.array_equal(whole.stats["tp"], parts.stats["tp"])
    assert (plain.map50, plain.map50_95) == (split.map50, split.map50_95)
