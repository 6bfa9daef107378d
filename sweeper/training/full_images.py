"""A few steps of training in which every image is as full as the fullest one is taken to be."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

from PIL import Image

from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.calibration import FITTED
from sweeper.memory.predict.programs import COVERAGE
from sweeper.trial.spec import TrialSpec, cell_label

BATCHES = 4  # in the epoch: even, as the second of two holds the images of the first
SIDE = round(math.sqrt(COVERAGE), 2)  # of a box, which covers what a prediction assumes
AUGMENTATION = ("mosaic", "translate", "scale", "fliplr", "hsv_h", "hsv_s", "hsv_v", "erasing")
# Far below Ultralytics' own, so that the fp16 scaler skips no step: on an H200 it skipped 5 to 7
# at first, and what is skipped makes no optimizer state.
LOSS_GAINS = {"box": 7.5e-5, "cls": 5e-6, "dfl": 1.5e-5}


def fullest_image(config: MemoryConfig) -> int:
    """Boxes of the fullest image, as they are predicted with; at least one."""
    figure: float | None = config.fullest_image
    if figure is None:
        figure = FITTED.fullest(config.boxes_per_image, config.images)
    return max(1, math.ceil(figure))


def few_steps(
    config: MemoryConfig, folder: Path, limit_gib: float, alloc_conf: str = ""
) -> TrialSpec:
    """Write the images of one short epoch; what trains on them under a budget.

    Accumulation takes two micro-batches: memory does not depend on how many there are.
    """
    boxes, accumulate = fullest_image(config), 2 if config.accumulates else 1
    return TrialSpec(
        study="few_steps",
        number=0,
        strategy=cell_label(config.batch, accumulate, config.amp),
        batch=config.batch,
        accumulate=accumulate,
        amp=config.amp,
        model=Path(config.model).stem,
        model_file=config.model,
        data="full_images",
        data_yaml=str(write_full_images(folder, config, boxes)),
        nc=config.nc,
        boxes_per_image=boxes,
        imgsz=config.imgsz,
        epochs=1,
        optimizer=config.optimizer,
        seed=0,
        limit_gib=limit_gib,
        alloc_conf=alloc_conf,
        checkpoint=config.checkpoint,
        val_batch=config.val_batch,
        freeze=config.freeze,
        train_args={
            **dict.fromkeys(AUGMENTATION, 0.0),
            **LOSS_GAINS,
            "lr0": 1e-4,
            "warmup_epochs": 0.0,
            "workers": 0,
        },
    )


def write_full_images(folder: Path, config: MemoryConfig, boxes: int) -> Path:
    """Square grey images with so many boxes each; twice the images of a batch to validate.

    Returns:
        The path of the ``data.yaml``.
    """
    grey = io.BytesIO()
    Image.new("RGB", (config.imgsz, config.imgsz), (114, 114, 114)).save(grey, "PNG")
    labels = _labels(boxes)
    for split, count in (("train", BATCHES * config.batch), ("val", 2 * config.batch)):
        images, texts = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        texts.mkdir(parents=True)
        for number in range(count):
            (images / f"{number}.png").write_bytes(grey.getvalue())
            (texts / f"{number}.txt").write_text(labels)
    content = {
        "path": str(folder.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": [str(number) for number in range(config.nc)],
    }
    (folder / "data.yaml").write_text(json.dumps(content))  # JSON is YAML
    return folder / "data.yaml"


def _labels(boxes: int) -> str:
    """Boxes on a grid: of equal ones Ultralytics keeps the first."""
    columns = math.ceil(math.sqrt(boxes))
    places = [divmod(number, columns) for number in range(boxes)]
    return "\n".join(
        f"0 {(x + 0.5) / columns:.6f} {(y + 0.5) / columns:.6f} {SIDE} {SIDE}" for y, x in places
    )
