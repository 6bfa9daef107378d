"""The published readings of GPU_mem, and what their logs tell of the data they trained on."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from sweeper.memory.config import ASSUMED_BOXES, ASSUMED_IMAGES
from sweeper.memory.predict.crowd import expected_largest
from sweeper.numbers import GIB

HERE = Path(__file__).parent
FILES = tuple(HERE / f"published_vram{part}.csv" for part in ("", "_2", "_3"))
CUDNN_9 = (2, 4)  # torch that comes with it
DENSE_CIOU = (8, 0, 40)  # Ultralytics, from which the assigner computes CIoU of few pairs
ONE_BATCH = 1.75  # batches in an epoch, below which only one is taken to matter


@dataclass(frozen=True, slots=True)
class Reading:
    """One published training log.

    Attributes:
        key: File and row.
        gib: What its first epoch printed, GiB.
        most_gib: The most that any of its epochs printed, GiB.
        epochs: How many were printed.
        images: Of the training set; None where the log does not say.
        boxes: Most objects that an epoch's last batch was printed to hold; None where it says 0.
        clears: When its release empties the cache.
        source: The repository it comes from, or the log.
    """

    key: str
    model: str
    batch: int
    imgsz: int
    amp: bool
    nc: int
    optimizer: str
    gpu: str
    release: tuple[int, ...]
    torch: tuple[int, ...]
    gib: float
    most_gib: float
    epochs: int
    images: int | None
    boxes: float | None
    clears: str
    source: str

    @property
    def last(self) -> int:
        """Images of an epoch's last batch, whose objects are the printed ones."""
        return (self.images or 0) % self.batch or self.batch

    @property
    def one_batch(self) -> bool:
        """Whether an epoch is about one batch."""
        return self.images is not None and self.images < ONE_BATCH * self.batch

    @property
    def drawn(self) -> int:
        """Images drawn by the first epoch."""
        return self.images or ASSUMED_IMAGES

    @property
    def printed_density(self) -> float:
        """Objects per image if the printed ones are of a whole batch."""
        return ASSUMED_BOXES if self.boxes is None else self.boxes / self.batch

    @property
    def last_density(self) -> float:
        """Objects per image of the fullest last batch."""
        return ASSUMED_BOXES if self.boxes is None else self.boxes / self.last

    def mean(self, spread: float) -> float:
        """Objects per image on average: the fullest of `epochs` last batches lies above it.

        The mean of `last` lognormal values is about lognormal itself (Fenton 1960).
        """
        if self.boxes is None:
            return ASSUMED_BOXES
        own = math.sqrt(math.log(1 + math.expm1(spread**2) / self.last))
        return self.last_density / math.exp(own * expected_largest(self.epochs) - own**2 / 2)

    @property
    def modern(self) -> bool:
        """Whether cuDNN is 9 or later and the card one that it still serves: Volta or later."""
        return self.torch >= CUDNN_9 and "P100" not in self.gpu

    @property
    def dense_ciou(self) -> bool:
        """Whether its release computes CIoU of every anchor with every box."""
        return self.release < DENSE_CIOU


def load(files: tuple[Path, ...] = FILES) -> list[Reading]:
    """All readings, each file in its order."""
    return [reading for file in files for reading in _load(file)]


def _load(file: Path) -> list[Reading]:
    with file.open(newline="") as lines:
        return [_reading(f"{file.name}:{i}", row) for i, row in enumerate(csv.DictReader(lines))]


def _reading(key: str, row: dict[str, str]) -> Reading:
    # Ultralytics printed units of 1e9 bytes up to 8.3.75, of 2**30 after it.
    unit = 1e9 / GIB if "1e9" in row["unit"] else 1.0
    return Reading(
        key=key,
        model=row["model"],
        batch=int(row["batch"]),
        imgsz=int(row["imgsz"]),
        amp=row["amp"] == "True",
        nc=int(row["nc"]),
        optimizer=row["optimizer"],
        gpu=row["gpu"],
        release=_version(row["ultralytics_version"]),
        torch=_version(row["torch_version"].partition("+")[0]),
        gib=float(row["gpu_mem_gb"]) * unit,
        most_gib=float(row["gpu_mem_max_gb"]) * unit,
        epochs=int(float(row["n_epochs_seen"])),
        images=int(float(row["n_train_images"])) if row["n_train_images"] else None,
        boxes=float(row["instances_max"] or 0) or None,
        clears=row["cache_clear"],
        source=":".join(row["source"].split(":")[:2]),
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
