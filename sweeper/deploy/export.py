"""The child that makes one export with Ultralytics' own exporter."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from sweeper.deploy.child import failure_answer, start


def export(job: dict[str, Any]) -> dict[str, Any]:
    """Export ``job["weights"]`` into ``job["folder"]``; what goes wrong comes back as a reason."""
    from ultralytics import YOLO

    folder = Path(job["folder"])
    weights = folder / "model.pt"  # Ultralytics writes beside the weights, under their name
    shutil.copyfile(job["weights"], weights)
    arguments = {
        "format": job["argument"],
        "imgsz": job["imgsz"],
        "quantize": 16 if job["precision"] == "fp16" else None,
        "device": "cpu" if job["device"] == "cpu" else "0",
        **({"dynamic": True, "batch": job["batch"]} if job["dynamic"] else {}),
    }
    if job["opset"] and job["argument"] in {"onnx", "engine"}:
        arguments["opset"] = job["opset"]
    started = time.monotonic()
    made = YOLO(str(weights), task="detect").export(**arguments)
    weights.unlink()
    return {"path": str(made), "seconds": time.monotonic() - started}


def main(argument: str) -> None:
    """Answer with one line of JSON."""
    job, answers = start(argument)
    try:
        answer = export(job)
    except Exception as error:  # the boundary of the process: every failure crosses as data
        answer = failure_answer(error)
    answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
