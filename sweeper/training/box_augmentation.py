"""Ultralytics' augmentation of the boxes alone: no pixel is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data import utils
from ultralytics.data.augment import Compose, v8_transforms
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import img2label_paths, verify_image_label

from sweeper.training.order import seed_everything

# To verify_image_label: which class a box is of is all the same.
ONE_CLASS = (False, 1, 0, 0, True)
# It would write a damaged JPEG anew, which is the training's business. This module is imported by
# a child process that only counts.
utils._replace_image = lambda *_: None


class BoxAugmentation(YOLODataset):  # type: ignore[misc]
    """Mosaic, copy-paste, affine map and mixup, of images that are chosen.

    What follows them leaves the number of boxes as it is. CutMix, off by default, is left out.

    Attributes:
        hyp: Ultralytics' configuration.
    """

    def __init__(self, images: list[Path], arguments: Mapping[str, Any]) -> None:
        """Read no image yet.

        Raises:
            ValueError: Ultralytics refuses an argument.
        """
        try:
            self.hyp = get_cfg(overrides=dict(arguments))
        except TypeError as error:
            raise ValueError(str(error)) from error
        seed_everything("boxes")
        self.im_files = [str(image) for image in images]
        self.label_files = img2label_paths(self.im_files)
        self.imgsz, self.rect, self.cache = self.hyp.imgsz, False, None
        self.data: dict[str, Any] = {}
        self.use_segments = self.use_keypoints = self.use_obb = False
        self.labels: dict[int, dict[str, Any]] = {}
        self._others: Iterator[int] = iter(())
        joining, self._mixup = v8_transforms(self, self.imgsz, self.hyp).transforms[:2]
        mosaic, copy_paste, affine = joining.transforms
        mosaic.p = float(self.hyp.mosaic > 0)
        mosaic.get_indexes = lambda: [next(self._others) for _ in range(mosaic.n - 1)]
        copy_paste.apply_image = lambda labels, params: labels
        affine.apply_image = _resize
        self._mixup.get_indexes = lambda: next(self._others)
        self._augment = Compose([joining, self._mixup])

    def __len__(self) -> int:
        return len(self.im_files)

    def count(self, images: list[int], mixes: int) -> int:
        """Boxes of an image that is made of these, with or without mixup."""
        first, *others = images
        self._others, self._mixup.p = iter(others), float(mixes)
        return len(self._augment(self.get_image_and_label(first))["cls"])

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """The labels of an image, read when it is first used."""
        if index not in self.labels:
            self.labels[index] = self._read(index)
        labels: dict[str, Any] = super().get_image_and_label(index)
        return labels

    def load_image(self, i: int, *args: Any, **kwargs: Any) -> Any:
        """An image as large as it is loaded, without a channel."""
        height, width = self.labels[i]["shape"]
        ratio = self.imgsz / max(height, width)
        loaded = tuple(min(math.ceil(side * ratio), self.imgsz) for side in (height, width))
        return np.empty((*loaded, 0), np.uint8), (height, width), loaded

    def _read(self, index: int) -> dict[str, Any]:
        image = self.im_files[index]
        _, *read = verify_image_label((image, self.label_files[index], "", *ONE_CLASS))
        if read[0] is None:  # a faulty image, which Ultralytics leaves out
            read[:4] = np.zeros((0, 5), np.float32), (self.imgsz, self.imgsz), [], None
        labels: dict[str, Any] = self.result_to_label([image, *read])[0]
        return labels


def _resize(labels: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Ultralytics' affine map of an image without a channel."""
    width, height = params["size"]
    labels["img"] = np.empty((height, width, 0), np.uint8)
    labels["resized_shape"] = height, width
    return labels
