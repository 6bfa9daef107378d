"""A training loader read by sample number: the same samples wherever the reading begins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.build import InfiniteDataLoader, build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

from sweeper.training import order
from sweeper.training.order import number_samples

EPOCHS = 4
IMAGES = 12


def read_epochs(
    data: Path, start: int, batch: int, workers: int, seed: int = 0, **arguments: Any
) -> list[list[Any]]:
    """Image, boxes and file name of each sample, by epoch from ``start`` on."""
    loader, numbers = make_loader(data, batch, workers, seed, **arguments)
    numbers.epoch = start
    epochs = []
    for _ in range(start, EPOCHS):
        batches = list(loader)
        epochs.append([(b["img"], b["bboxes"], b["im_file"]) for b in batches])
    loader.close()
    return epochs


def make_loader(
    data: Path, batch: int, workers: int, seed: int = 0, **arguments: Any
) -> tuple[InfiniteDataLoader, Any]:
    content = check_det_dataset(str(data))
    cfg = get_cfg(overrides={"imgsz": 64, "mosaic": 1.0, **arguments})
    dataset = build_yolo_dataset(cfg, content["train"], batch, content)
    loader = build_dataloader(dataset, batch, workers, shuffle=True, device="cpu")
    return loader, number_samples(loader, seed)


def same(one: Any, other: Any) -> bool:
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if isinstance(one, list | tuple) and not isinstance(one[0], str):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize(
    ("batch", "workers", "arguments"),
    [
        (1, 0, {}),  # mosaic may draw from 7 of the 12 images
        (5, 2, {}),  # three micro-batches for two workers: they change places every epoch
        (1, 2, {"mixup": 0.5, "cutmix": 0.5}),  # these load images that mosaic may not draw
        (4, 0, {"cache": "ram"}),
        (4, 0, {"rect": True}),
    ],
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_reading_may_begin_with_any_epoch(
    tiny_data: Path, batch: int, workers: int, arguments: dict[str, Any]
) -> None:
    whole = read_epochs(tiny_data, 0, batch, workers, **arguments)
    assert not same(whole[2], whole[3])
    assert same(read_epochs(tiny_data, 2, batch, workers, **arguments), whole[2:])


def test_an_epoch_is_every_image_once_in_an_order_of_its_own(tiny_data: Path) -> None:
    orders = [
        tuple(name for *_, names in epoch for name in names)
        for seed in (0, 1)
        for epoch in read_epochs(tiny_data, 0, 5, 0, seed)
    ]
    assert all(len(set(order)) == IMAGES == len(order) for order in orders)
    assert len(set(orders)) == 2 * EPOCHS


def test_mosaic_draws_from_the_latest_images_and_only_they_stay_in_memory(tiny_data: Path) -> None:
    loader, _ = make_loader(tiny_data, 1, 0, mixup=0.5, cutmix=0.5)
    dataset = loader.dataset
    read = [dataset.im_files.index(b["im_file"][0]) for _ in range(EPOCHS) for b in loader]
    latest = list(dict.fromkeys(reversed(read)))[:7]  # Ultralytics: 8 x batch, less the oldest
    assert dataset.buffer == latest[::-1]
    assert {i for i, image in enumerate(dataset.ims) if image is not None} <= set(latest)


def test_a_worker_draws_from_the_images_of_its_own_turns(tiny_data: Path, monkeypatch) -> None:
    loader, _ = make_loader(tiny_data, 2, 0)
    monkeypatch.setattr(order, "get_worker_info", lambda: SimpleNamespace(num_workers=2))
    dataset = loader.dataset
    samples = [dataset[number] for number in (0, 1, 4, 5, 8, 9)]  # every second micro-batch
    assert [dataset.im_files[i] for i in dataset.buffer] == [s["im_file"] for s in samples]
