"""One trial inside its child process: spec.json in, log.txt and result.json out."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import ultralytics
from ultralytics.utils import LOGGER, SETTINGS, remove_colorstr, tqdm

from sweeper.command import command_arguments
from sweeper.records import from_json, to_json, write_record
from sweeper.training.checkpoint import Part
from sweeper.training.device import DeviceMeter, start_meter
from sweeper.training.trainer import Diverged, OutOfMemory, Stopped, TooShort, TrialTrainer
from sweeper.trial import (
    EpochReport,
    MemoryReading,
    Outcome,
    TrialResult,
    TrialSpec,
    summarise_epochs,
)

KIB_PER_GIB = 2**20
PROGRESS_INTERVAL_S = 0.5

# What PyTorch, cuBLAS and cuDNN say when device memory is short; Ultralytics' own list.
OUT_OF_MEMORY_SIGNS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "unable to find an engine",
)


def child_main(folder: str, connection: Connection) -> None:
    """Run the trial of ``folder``; everything the process prints goes to its log.txt."""
    os.setsid()  # a Ctrl-C in the terminal is the parent's to handle
    for number in (signal.SIGHUP, signal.SIGTERM):  # undo sweeper.executors.preload
        signal.signal(number, signal.SIG_DFL)
    _redirect_output(Path(folder) / "log.txt")
    spec = from_json(TrialSpec, (Path(folder) / "spec.json").read_text())
    link = ParentLink(connection)
    result = run_trial(spec, Path(folder), link)
    write_record(Path(folder) / "result.json", result)


class ParentLink:
    """The child's end of the pipe: reports out, one word (stop) in, parent's death noticed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stop = threading.Event()
        self._last_progress = 0.0
        threading.Thread(target=self._listen, daemon=True, name="parent-link").start()

    def _listen(self) -> None:
        try:
            while self._connection.recv_bytes() != b"stop":
                pass
            self._stop.set()
            self._connection.recv_bytes()
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # nobody is left to report to

    def send_epoch(self, report: EpochReport) -> None:
        """Report a finished epoch."""
        self._send({"epoch": json.loads(to_json(report))})

    def send_progress(self, done: int, total: int) -> None:
        """Report micro-batches, at most every half second; raise `Stopped` if asked to."""
        if self._stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_INTERVAL_S:
            self._last_progress = now
            self._send({"done": done, "total": total})

    def _send(self, message: dict[str, Any]) -> None:
        self._connection.send_bytes(json.dumps(message).encode())


def run_trial(
    spec: TrialSpec, folder: Path, link: ParentLink, part: Part | None = None
) -> TrialResult:
    """Train as ``spec`` says; whatever goes wrong comes back as an outcome with its reason."""
    trainer: TrialTrainer | None = None
    meter: DeviceMeter | None = None
    started = time.monotonic()
    outcome, reason = Outcome.COMPLETE, ""
    try:
        # sweeper logs the trial itself, once; set in memory only, the user's file stays as it is
        dict.__setitem__(SETTINGS, "mlflow", False)
        meter = start_meter(spec)
        trainer = TrialTrainer(
            spec, ultralytics_arguments(spec, folder), link.send_epoch, link.send_progress, part
        )
        torch.set_num_threads(spec.threads)  # Ultralytics' select_device() has set its own
        if meter is not None:
            trainer.measure_phases(meter.phases)
        trainer.train()
    except Exception as error:
        traceback.print_exc()
        outcome, reason = classify(error, spec)
        short = outcome is Outcome.OUT_OF_MEMORY and meter is not None and meter.shortfall()
        if short:
            outcome, reason = Outcome.CRASHED, f"{reason} But {short}."
    reports = tuple(trainer.reports) if trainer else ()
    return TrialResult(
        outcome=outcome,
        reason=reason,
        **summarise_epochs(reports),
        wall_time_s=time.monotonic() - started,  # the parent's own clock replaces it
        **_counts(trainer, started, spec),
        memory=_reading(meter, spec),
        peak_rss_gib=_peak_rss_gib(),
        settings=_effective_settings(trainer),
    )


def _reading(meter: DeviceMeter | None, spec: TrialSpec) -> MemoryReading | None:
    """What was measured; the prediction stands in for it on the CPU only."""
    if meter is not None:
        return meter.read()
    return spec.predicted if spec.device == "cpu" else None


def classify(error: Exception, spec: TrialSpec) -> tuple[Outcome, str]:
    """The outcome that an exception of the training run stands for, and why in one sentence."""
    cause = (error.__context__ or error) if isinstance(error, OutOfMemory) else error
    first_line = next(iter(str(cause).strip().splitlines()), "") or type(cause).__name__
    out_of_memory = isinstance(error, OutOfMemory | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(s in str(error) for s in OUT_OF_MEMORY_SIGNS)
    )
    if out_of_memory:
        return Outcome.OUT_OF_MEMORY, f"{spec.label} at {spec.imgsz} px: {first_line}"
    if isinstance(error, Diverged):
        return Outcome.DIVERGED, f"{first_line}. Lower train.lr0 or accumulate."
    if isinstance(error, Stopped):
        return Outcome.PRUNED, "stopped early: behind the other trials at the same epoch"
    if isinstance(error, TooShort):
        return Outcome.CRASHED, first_line
    return Outcome.CRASHED, f"{type(error).__name__}: {first_line} See log.txt."


def ultralytics_arguments(spec: TrialSpec, folder: Path) -> dict[str, Any]:
    """The arguments of ``yolo detect train`` that run this trial in ``folder``."""
    return {
        "task": "detect",
        **command_arguments(spec),
        "device": "cpu" if spec.device == "cpu" else "0",
        "project": str(folder.parent.resolve()),
        "name": folder.name,
        "exist_ok": True,
        "plots": False,
        "save": spec.keep_weights or spec.train_args.get("save_period", -1) > 0,
    }


def _counts(trainer: TrialTrainer | None, started: float, spec: TrialSpec) -> dict[str, Any]:
    if trainer is None or not trainer.iterations:
        return {}
    images = trainer.whole_epochs * len(trainer.train_loader.dataset)
    return {
        "train_time_s": time.monotonic() - started,
        "images_per_s": images / trainer.train_time_s if trainer.train_time_s else None,
        "iterations": trainer.iterations,
        "optimizer_steps": trainer.optimizer_steps,
        "amp_dtype": trainer.amp_dtype,
    }


def _effective_settings(trainer: TrialTrainer | None) -> dict[str, Any]:
    versions = {
        "ultralytics": ultralytics.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if trainer is None:
        return versions
    scalars = {
        k: v
        for k, v in vars(trainer.args).items()
        if isinstance(v, bool | int | float | str) and k not in {"project", "name", "save_dir"}
    }
    return {**scalars, "accumulate": trainer.spec.accumulate, **versions}


def _peak_rss_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


class PlainText(io.TextIOWrapper):
    """A text stream without terminal colours."""

    def write(self, text: str) -> int:
        """Write ``text`` without its escape sequences."""
        return super().write(remove_colorstr(text))


def _redirect_output(log: Path) -> None:
    """Send the process's stdout and stderr, C libraries included, to ``log`` line by line."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    stream = PlainText(os.fdopen(descriptor, "wb", 0), "utf-8", line_buffering=True)
    sys.stdout = sys.stderr = stream
    for handler in LOGGER.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)
    # Ultralytics redraws its bars in place; as for a CI console it then prints whole lines.
    tqdm.is_noninteractive_console = lambda: True
