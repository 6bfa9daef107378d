"""How a child of the deployment starts: pinned, quiet, and forbidden to install anything."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from typing import Any


def start(argument: str) -> tuple[dict[str, Any], io.TextIOWrapper]:
    """Read the job, take the process off the terminal and hold it to its cores.

    Returns:
        The job, and the stream on which to answer the parent.
    """
    job: dict[str, Any] = json.loads(argument)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # ONNX Runtime and OpenVINO size their pools by the cores they may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    # OpenVINO reports its use to its makers unless this package is absent.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return job, answers


def environment(device: str, threads: int) -> dict[str, str]:
    """The environment that the parent gives a child."""
    return (
        {"ULTRALYTICS_SAFE_LOAD": "true"}
        | os.environ
        | {  # weights run no code when read
            "CUDA_VISIBLE_DEVICES": "" if device == "cpu" else device,
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": str(threads),
            "YOLO_AUTOINSTALL": "false",  # else Ultralytics calls pip for what it misses
            "YOLO_OFFLINE": "true",
        }
    )


def failure_answer(error: Exception) -> dict[str, str]:
    """An error as it is sent to the parent; its traceback goes to the log."""
    traceback.print_exception(error)
    first = next(iter(str(error).strip().splitlines()), "")
    return {"error": f"{type(error).__name__}: {first}"}
