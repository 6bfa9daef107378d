"""What one would write without sweeper: Hydra's own sweeper around YOLO(...).train(...)."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig


def train(batch: int, accumulate: int, amp: bool, arguments: dict[str, object]) -> float:
    """Train one cell in this process and return its last mAP@0.5."""
    from ultralytics import YOLO

    model = YOLO("yolo11n.yaml")
    model.train(batch=batch, nbs=batch * accumulate, amp=amp, **arguments)
    rows = list(csv.DictReader((Path(model.trainer.save_dir) / "results.csv").open()))
    return float(rows[-1]["metrics/mAP50(B)"])


@hydra.main(config_path=None, config_name=None, version_base="1.3")
def main(config: DictConfig) -> None:
    """One cell; appends its result to $NAIVE_RESULTS."""
    started = time.perf_counter()
    arguments = json.loads(os.environ["NAIVE_ARGUMENTS"])
    map50 = train(config.batch, config.accumulate, config.amp, arguments)
    cell = [config.batch, config.accumulate, config.amp]
    with Path(os.environ["NAIVE_RESULTS"]).open("a") as file:
        row = {"cell": cell, "map50": map50, "seconds": time.perf_counter() - started}
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
