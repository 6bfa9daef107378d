"""What one would write without sweeper: Hydra's own sweeper around YOLO(...).train(...)."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig


def train(
    batch: int, accumulate: int, amp: bool, arguments: dict[str, object]
) -> tuple[float, float]:
    """Train one cell in this process: its last mAP@0.5, and the seconds of all its epochs."""
    from ultralytics import YOLO

    model = YOLO("yolo11n.yaml")
    model.train(batch=batch, nbs=batch * accumulate, amp=amp, **arguments)
    rows = list(csv.DictReader((Path(model.trainer.save_dir) / "results.csv").open()))
    return float(rows[-1]["metrics/mAP50(B)"]), float(rows[-1]["time"])


@hydra.main(config_path=None, config_name=None, version_base="1.3")
def main(config: DictConfig) -> None:
    """One cell; appends its result to $NAIVE_RESULTS."""
    started = time.perf_counter()
    arguments = json.loads(os.environ["NAIVE_ARGUMENTS"])
    map50, epochs_s = train(config.batch, config.accumulate, config.amp, arguments)
    cell = [config.batch, config.accumulate, config.amp]
    with Path(os.environ["NAIVE_RESULTS"]).open("a") as file:
        seconds = time.perf_counter() - started
        row = {"cell": cell, "map50": map50, "seconds": seconds, "epochs_s": epochs_s}
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
