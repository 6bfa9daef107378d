"""The fullest image of a run, against Ultralytics' own loader."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sweeper.config.compose import compose_settings
from sweeper.training.box_augmentation import BoxAugmentation
from sweeper.training.crowding import Crowd, fullest_images, search_images
from sweeper.training.data_yaml import split_images
from sweeper.training.dataset import check_dataset
from tests.training.test_order import make_loader

IMAGES, MOST = 60, 40


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images with 0 to 40 boxes."""
    folder = tmp_path_factory.mktemp("crowded")
    rng = random.Random(0)
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(IMAGES):
            size = (64, 64) if number % 2 else (64, 40)
            Image.new("RGB", size, (114,) * 3).save(folder / "images" / split / f"{number}.png")
            boxes = [
                [rng.uniform(0.15, 0.85) for _ in range(2)] for _ in range(number % (MOST + 1))
            ]
            text = "".join(
                f"0 {x:.4f} {y:.4f} {rng.uniform(0.1, 0.3):.4f} 0.2\n" for x, y in boxes
            )
            (folder / "labels" / split / f"{number}.txt").write_text(text)
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": ["x"]}
    (folder / "data.yaml").write_text(json.dumps(content))  # JSON is YAML
    return folder / "data.yaml"


def crowd(data: Path, epochs: int, **augmentation: Any) -> Crowd:
    return Crowd(data, check_dataset(data).boxes, epochs, 1, 64, json.dumps(augmentation))


def padding(data: Path, batch: int, seed: int, epochs: int, **arguments: Any) -> int:
    """What Ultralytics' loader makes the assigner pad the images of a run to."""
    loader, _ = make_loader(data, batch, 0, seed, **arguments)
    batches = [b["batch_idx"].long().bincount() for _ in range(epochs) for b in loader]
    return max(int(counts.max()) for counts in batches)


@pytest.mark.parametrize(("batch", "augmentation"), [(2, {}), (16, {}), (8, {"mixup": 0.5})])
def test_it_is_about_the_fullest_of_the_loader_s_runs(
    crowded: Path, batch: int, augmentation: dict[str, Any]
) -> None:
    figures = search_images(crowd(crowded, 2, **augmentation))
    expected = figures[: batch.bit_length()][-1]
    seen = sorted(padding(crowded, batch, seed, 2, **augmentation) for seed in range(5))
    assert seen[-2] <= expected <= 1.5 * seen[2]


def test_without_mosaic_it_is_that_of_the_labels(tiny_data: Path) -> None:
    boxes = check_dataset(tiny_data).boxes
    seen = padding(tiny_data, 4, 0, 3, mosaic=0.0, scale=0.0, translate=0.0)
    assert fullest_images(crowd(tiny_data, 0)) == (seen,) == (max(boxes),)


def test_a_longer_run_and_a_smaller_pool_have_fuller_images(crowded: Path) -> None:
    short, long = (search_images(crowd(crowded, epochs)) for epochs in (1, 300))
    assert len(short) == 4  # 60 images: a batch of 8 is enough for mosaic to draw from all
    assert all(one < other for one, other in zip(short, long, strict=True))
    assert MOST < short[-1] < short[0] and max(long) <= 4 * MOST


def test_the_same_run_has_the_same_fullest_image(crowded: Path) -> None:
    one, other = (search_images(crowd(crowded, 3, mosaic=0.0, mixup=0.5)) for _ in range(2))
    assert one == other and min(one) > MOST


@pytest.mark.parametrize(
    ("overrides", "mixed"),
    [
        (["train.epochs=30", "train.close_mosaic=10"], 20),
        (["train.epochs=10", "train.close_mosaic=10"], 0),
        (["train.epochs=30", "train.close_mosaic=0", "train.rect=true", "accumulate=1"], 0),
        (["train.epochs=30", "train.close_mosaic=0", "+train.extra.mosaic=0"], 0),
        (["train.epochs=5", "train.close_mosaic=0", "+train.extra={mosaic:0,mixup:0.1}"], 5),
    ],
)
def test_images_are_mixed_until_mosaic_is_closed(
    crowded: Path, overrides: list[str], mixed: int
) -> None:
    settings = compose_settings(["data=custom", f"data.yaml={crowded}", *overrides])
    assert Crowd.of(settings, check_dataset(crowded)).mixed_epochs == mixed


def test_polygons_are_pasted(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / f"{number}.png")
        polygons = [f"0 {x} 0.1 {x + 0.1} 0.1 {x + 0.1} 0.3 {x} 0.3\n" for x in (0.1, 0.25)]
        (tmp_path / "labels" / f"{number}.txt").write_text("".join(polygons))
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [x]\n")
    images = split_images(tmp_path / "data.yaml", "train")
    still = {"mosaic": 0.0, "scale": 0.0, "translate": 0.0, "imgsz": 64}
    counts = [
        BoxAugmentation(images, {**still, "copy_paste": share}).count([0], 0) for share in (0, 1.0)
    ]
    assert counts == [2, 4]


@pytest.mark.parametrize("mosaic", [2, "often"])
def test_what_ultralytics_refuses_is_named(crowded: Path, mosaic: object) -> None:
    with pytest.raises(ValueError, match="mosaic"):
        search_images(crowd(crowded, 1, mosaic=mosaic))
