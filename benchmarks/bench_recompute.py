"""What memory.checkpoint costs and saves: time of a training step in turns, and predicted peaks.

    python benchmarks/bench_recompute.py [--steps 9] [--predict]

Steps run on the CPU, in one thread, in turns; on a GPU the ratio is another one.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that a checkout needs no install

import torch  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

from sweeper import predict_vram  # noqa: E402
from sweeper.memory.predict.cache import DEFAULT_DIR  # noqa: E402
from sweeper.memory.recompute import recompute  # noqa: E402
from sweeper.trial.levers import CHECKPOINTS  # noqa: E402

MODELS = ("yolo11n", "yolo11m", "yolo11x")
TIMED = {"yolo11n": (4, 320), "yolo11m": (2, 320)}  # batch, imgsz
BOXES = 8
LEVERS: tuple[dict[str, Any], ...] = (
    *({"checkpoint": part} for part in CHECKPOINTS),
    {"checkpoint": "all", "val_batch": 16},
    {"freeze": 10},
)


def step_s(model: Any, batch: dict[str, torch.Tensor]) -> float:
    """Forward, loss and backward, seconds."""
    started = time.perf_counter()
    model(batch)[0].sum().backward()
    model.zero_grad()
    return time.perf_counter() - started


def time_steps(name: str, steps: int) -> None:
    """Print the median step of each kind, measured in turns."""
    torch.set_num_threads(1)
    base = DetectionModel(f"{name}.yaml", verbose=False)
    base.args = get_cfg()
    images, imgsz = TIMED[name]
    rows = images * BOXES
    batch = {
        "img": torch.rand(images, 3, imgsz, imgsz),
        "batch_idx": torch.arange(images).repeat_interleave(BOXES).float(),
        "cls": torch.zeros(rows, 1),
        "bboxes": torch.rand(rows, 4) / 4 + 0.3,
    }
    models = {part: copy.deepcopy(base).train() for part in CHECKPOINTS}
    for part, model in models.items():
        recompute(model, part)
    seconds: dict[str, list[float]] = {part: [] for part in models}
    for number in range(steps + 1):
        for part, model in models.items():
            taken = step_s(model, batch)
            if number:  # the first one sets up
                seconds[part].append(taken)
    plain = median(seconds["none"])
    for part, taken_s in seconds.items():
        ratio = median(taken_s) / plain
        print(f"{name} b{images} {imgsz} px  {part:8s} {median(taken_s):6.2f} s  {ratio:5.2f} x")


def main() -> None:
    """Time, or predict."""
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--steps", type=int, default=9)
    cli.add_argument("--predict", action="store_true")
    args = cli.parse_args()
    if not args.predict:
        for name in TIMED:
            time_steps(name, args.steps)
        return
    print("batch 16, 640 px, reserved GiB, simulated")
    for name in MODELS:
        for amp in (False, True):
            told = []
            for lever in LEVERS:
                found = predict_vram(name, 16, 1, amp, cache_dir=ROOT / DEFAULT_DIR, **lever)
                words = " ".join(f"{key}={value}" for key, value in lever.items())
                told.append(f"{words} {found.reserved_gib:.2f}")
            print(f"{name} amp {amp!s:5s}  {'  '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
