"""The child that measures one model file: commands in as JSON lines, numbers out."""

from __future__ import annotations

import json
import re
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweeper.deploy.child import failure_answer, start
from sweeper.deploy.runtimes import precision, prepare
from sweeper.numbers import GIB
from sweeper.waiting import waited_s

# Imported by every bench alike, so that the interpreter they are compared above is the same.
RUNTIMES = ("onnxruntime", "openvino", "ncnn", "ai_edge_litert")
IMPORTS = ("torchvision", "ultralytics.nn.tasks", "ultralytics.nn.autobackend", "onnx", *RUNTIMES)


class Bench:
    """One model file in a process of its own, loaded by Ultralytics' AutoBackend."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Import everything, read the images and take the memory as the zero."""
        import torch

        self._job, self._torch = job, torch
        torch.set_num_threads(job["threads"])
        for name in IMPORTS:
            _import_if_there(name)
        prepare(job["threads"], job["computed"])
        self._images = self._read_images()
        self._cuda = job["device"] != "cpu"
        self._zero_kib = _reset_peak_kib()
        self._model: Any = None

    def ready(self) -> dict[str, Any]:
        """Versions of what measures."""
        found = {n: _version(n) for n in ("torch", "ultralytics", *RUNTIMES)}
        return {"versions": {n: v for n, v in found.items() if v}}

    def load(self) -> dict[str, Any]:
        """Load the file; also again."""
        from ultralytics.nn.autobackend import AutoBackend

        device = self._torch.device("cuda:0" if self._cuda else "cpu")
        self._model = None
        started = time.perf_counter()
        self._model = AutoBackend(self._job["file"], device=device, verbose=False)
        self._model.eval()
        self._wait()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "device": str(self._model.device)}

    def precision(self) -> dict[str, Any]:
        """The precision that the loaded model computes in; takes memory."""
        file, stored = self._job["file"], self._job["precision"]
        return {"ran": precision(self._model, file, stored, self._images[:1])}

    def run(self, batch: int, runs: int, warmup: int) -> dict[str, Any]:
        """Latencies of passes from a ready input to the raw output; all of it and waiting.

        In seconds; the latter is None where the kernel does not count it.
        """
        began, before = time.perf_counter(), waited_s()
        inputs = self._images[:batch].to(self._model.device)
        latencies = []
        with self._torch.inference_mode():
            for number in range(-warmup, runs):
                started = time.perf_counter()
                self._model(inputs)
                self._wait()
                if number >= 0:
                    latencies.append(time.perf_counter() - started)
        waited = None if before is None else (waited_s() or 0.0) - before
        took = time.perf_counter() - began
        return {"latencies_s": latencies, "took_s": took, "waited_s": waited}

    def memory(self) -> dict[str, Any]:
        """Peak resident memory since the zero, and the peaks of torch's allocator."""
        found: dict[str, Any] = {"rss_mib": grown_mib(self._zero_kib, _status_kib("VmHWM"))}
        if self._cuda:
            found["allocated"] = self._torch.cuda.max_memory_allocated() / GIB
            found["reserved"] = self._torch.cuda.max_memory_reserved() / GIB
        return found

    def predict(self, batch: int, file: str) -> dict[str, Any]:
        """Write the raw outputs for all images, one by one and in batches, to ``file``."""
        import numpy as np

        with self._torch.inference_mode():
            outputs = [
                self._raw(chunk) for size in (1, batch) for chunk in self._images.split(size)
            ]
        np.save(file, np.concatenate(outputs))
        return {}

    def validate(self, data: str, batch: int) -> dict[str, Any]:
        """mAP@0.5 on the validation set, every image letterboxed to the same square."""
        from ultralytics import YOLO

        self._model = None
        metrics = YOLO(self._job["file"], task="detect").val(
            data=data,
            imgsz=self._job["imgsz"],
            batch=batch,
            device="0" if self._cuda else "cpu",
            rect=False,
            plots=False,
            workers=0,
            verbose=False,
            project=str(Path(self._job["log"]).parent),
            name="validation",
            exist_ok=True,
        )
        return {"map50": float(metrics.box.map50)}

    def _raw(self, images: Any) -> Any:
        found = self._model(images.to(self._model.device))
        first = found[0] if isinstance(found, list | tuple) else found
        return first.float().cpu().numpy()

    def _read_images(self) -> Any:
        import cv2
        from ultralytics.data.augment import LetterBox

        letterbox = LetterBox((self._job["imgsz"], self._job["imgsz"]), auto=False)
        images = [letterbox(image=cv2.imread(p)) for p in self._job["images"]]
        stack = self._torch.stack([self._torch.from_numpy(i[..., ::-1].copy()) for i in images])
        return stack.permute(0, 3, 1, 2).contiguous().float() / 255

    def _wait(self) -> None:
        if self._cuda:
            self._torch.cuda.synchronize()


def _import_if_there(name: str) -> None:
    try:
        __import__(name)
    except ImportError:
        print(f"{name} is not installed")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def grown_mib(zero_kib: int, peak_kib: int) -> float | None:
    """What a process has grown by; None below 1 MiB, where a loaded model cannot be.

    Under memory pressure the kernel takes as many pages away as the model brings.
    """
    grown = (peak_kib - zero_kib) / 1024
    return grown if grown >= 1 else None


def _status_kib(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) if found else 0


def _reset_peak_kib() -> int:
    """Resident memory now; the kernel counts the peak from here on, if it lets us ask."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _status_kib("VmHWM")
    return _status_kib("VmRSS")


def main(argument: str) -> None:
    """Answer each line of JSON with one, until there are no more."""
    job, answers = start(argument)
    bench: Bench | None = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            bench = bench or Bench(job)
            answer = getattr(bench, command.pop("do"))(**command)
        except Exception as error:  # the boundary of the process: every failure crosses as data
            answer = failure_answer(error)
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
