"""The fullest image of a run, found in the labels, against what Ultralytics' loader loads.

    python benchmarks/bench_crowding.py DATA.yaml... [--epochs 3] [--runs 40] [--imgsz 96]

One run in twenty should have a fuller image than was found. Boxes are counted by the loader's own
batches, pixels and all; their size in pixels is small, since it decides little.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that a checkout needs no install

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.build import build_dataloader, build_yolo_dataset  # noqa: E402
from ultralytics.data.utils import check_det_dataset  # noqa: E402

from sweeper.training.crowding import Crowd, search_images  # noqa: E402
from sweeper.training.dataset import check_dataset  # noqa: E402
from sweeper.training.order import number_samples  # noqa: E402

BATCHES = (2, 16)


def fullest(data: Path, batch: int, seed: int, epochs: int, imgsz: int) -> int:
    """What the loader of one run makes the assigner pad an image to."""
    content = check_det_dataset(str(data))
    dataset = build_yolo_dataset(
        get_cfg(overrides={"imgsz": imgsz}), content["train"], batch, content
    )
    loader = build_dataloader(dataset, batch, 0, shuffle=True, device="cpu")
    number_samples(loader, seed)
    counts = (b["batch_idx"].long().bincount() for _ in range(epochs) for b in loader)
    return max(int(count.max()) for count in counts if len(count))


def compare(data: Path, epochs: int, runs: int, imgsz: int) -> None:
    """One line for each batch."""
    checked = check_dataset(data)
    augmentation = json.dumps({})  # Ultralytics' defaults
    figures = search_images(Crowd(data, checked.boxes, epochs, 1, imgsz, augmentation))
    for batch in BATCHES:
        found = figures[: batch.bit_length()][-1]
        seen = sorted(fullest(data, batch, seed, epochs, imgsz) for seed in range(runs))
        beyond = sum(most > found for most in seen)
        print(
            f"{data.parent.name:12s} {checked.train_images:6d} {epochs:6d} {batch:6d} {found:6d}"
            f"{beyond:8d} of {runs}  {seen[0]:5d} {median(seen):7g} {seen[-1]:5d}",
            flush=True,
        )


def main() -> None:
    """Compare each data set."""
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("data", type=Path, nargs="+")
    cli.add_argument("--epochs", type=int, default=3)
    cli.add_argument("--runs", type=int, default=40)
    cli.add_argument("--imgsz", type=int, default=96)
    args = cli.parse_args()
    print("data         images epochs  batch  found  went beyond  least  median  most")
    for data in args.data:
        compare(data, args.epochs, args.runs, args.imgsz)


if __name__ == "__main__":
    main()
