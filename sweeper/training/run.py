"""One training inside its child process: spec.json in, log.txt and child.json out."""

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
from typing import Any, Protocol

import psutil
import torch
import ultralytics
from ultralytics.utils import LOGGER, SETTINGS, remove_colorstr, tqdm

from sweeper.training.checkpoint import Part
from sweeper.training.device import NO_ROOM, DeviceMeter
from sweeper.training.endings import Stopped, classify
from sweeper.training.fingerprint import fingerprint
from sweeper.training.trainer import TrialTrainer
from sweeper.trial.command import command_arguments
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import to_json
from sweeper.trial.readings import EpochReport, MemoryReading, steady
from sweeper.trial.record import FINGERPRINT, ChildFacts, Ending
from sweeper.trial.spec import TrialSpec
from sweeper.waiting import waited_s

KIB_PER_GIB = 2**20
PROGRESS_INTERVAL_S = 0.5


class Link(Protocol):
    """Where a training reports to."""

    def send_epoch(self, report: EpochReport) -> None:
        """Report a finished epoch."""

    def send_progress(self, done: int, total: int) -> None:
        """Report micro-batches done and in all; raise `Stopped` if asked to stop."""


def child_main(folder: str, device: str, connection: Connection) -> None:
    """Run the trial of ``folder``; everything the process prints goes to its log.txt."""
    os.setsid()  # a Ctrl-C in the terminal is the parent's to handle
    for number in (signal.SIGHUP, signal.SIGTERM):  # undo sweeper.fork_server
        signal.signal(number, signal.SIG_DFL)
    files = TrialFolder(Path(folder))
    spec = files.read_spec()
    _redirect_output(files.log, append=spec.trained > 0)
    link = ParentLink(connection)
    files.write_child(run_trial(spec, files, device, link))


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


def run_trial(spec: TrialSpec, folder: TrialFolder, device: str, link: Link) -> ChildFacts:
    """Train as ``spec`` says; whatever goes wrong comes back as an ending with its message."""
    trainer: TrialTrainer | None = None
    meter: DeviceMeter | None = None
    ending, message, shortfall = Ending.COMPLETE, "", ""
    try:
        # sweeper logs the trial itself, once, and Ray Tune, a second to import, has no part in it;
        # set in memory only, the user's file stays as it is
        for integration in ("mlflow", "raytune"):
            dict.__setitem__(SETTINGS, integration, False)
        meter = DeviceMeter(spec, device) if device != "cpu" else None
        arguments = ultralytics_arguments(spec, folder, device)
        trainer = TrialTrainer(
            spec, arguments, link.send_epoch, link.send_progress, _part(spec, folder)
        )
        torch.set_num_threads(spec.threads)  # Ultralytics' select_device() has set its own
        if meter is not None:
            meter.start()
            trainer.measure_phases(meter)
        trainer.train()
    except Exception as error:
        traceback.print_exc()
        ending, message = classify(error, meter)
        if ending is Ending.OUT_OF_MEMORY and device != "cpu":
            shortfall = meter.shortfall() if meter is not None else NO_ROOM
    return ChildFacts(
        ending=ending,
        message=message,
        shortfall=shortfall,
        paused=trainer is not None and trainer.paused,
        epochs=tuple(trainer.reports) if trainer else (),
        **_counts(trainer),
        memory=spec.predicted if device == "cpu" else _measured(meter),
        peak_rss_gib=_peak_rss_gib(),
        cpu_wait=_cpu_wait(),
        settings=_effective_settings(trainer),
        class_map50=trainer.class_map50 if trainer else {},
    )


def _part(spec: TrialSpec, folder: TrialFolder) -> Part:
    """Where the training starts and ends, and which checkpoints stand between."""
    until = spec.until or spec.epochs
    start = folder.checkpoint(spec.trained) if spec.trained else None
    end = folder.checkpoint(until) if until < spec.epochs else None
    return Part(until, start, end, folder.checkpoint)


def _measured(meter: DeviceMeter | None) -> MemoryReading | None:
    return meter.read() if meter is not None else None


def ultralytics_arguments(spec: TrialSpec, folder: TrialFolder, device: str) -> dict[str, Any]:
    """The arguments of ``yolo detect train`` that run this trial in ``folder``.

    Loaders get the trial's share of the cores: Ultralytics counts those of the whole machine.
    """
    arguments = command_arguments(spec)
    return {
        "task": "detect",
        **arguments,
        "workers": min(arguments.get("workers", spec.threads + 1), spec.threads + 1),
        "device": "cpu" if device == "cpu" else "0",
        "project": str(folder.path.parent.resolve()),
        "name": folder.path.name,
        "exist_ok": True,
        "plots": False,
        "save": spec.keep_weights or spec.train_args.get("save_period", -1) > 0,
    }


def _counts(trainer: TrialTrainer | None) -> dict[str, Any]:
    if trainer is None or not trainer.iterations:
        return {}
    epoch_s = steady([report.train_time_s for report in trainer.reports])
    return {
        "train_time_s": time.monotonic() - trainer.started,
        "images_per_s": len(trainer.train_loader.dataset) / epoch_s if epoch_s else None,
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
    if trainer.iterations:
        sets = trainer.train_loader.dataset, trainer.test_loader.dataset
        scalars[FINGERPRINT] = fingerprint(trainer.data["names"], sets)
    return {**scalars, "accumulate": trainer.spec.accumulate, **versions}


def _peak_rss_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


def _cpu_wait() -> float | None:
    """Share of its life in which the main thread waited for a core, where the kernel counts it."""
    waited = waited_s()
    lived_s: float = time.time() - psutil.Process().create_time()
    return None if waited is None else waited / lived_s


class PlainText(io.TextIOWrapper):
    """A text stream without terminal colours."""

    def write(self, text: str) -> int:
        """Write ``text`` without its escape sequences."""
        return super().write(remove_colorstr(text))


def _redirect_output(log: Path, append: bool) -> None:
    """Send the process's stdout and stderr, C libraries included, to ``log`` line by line."""
    start = 0 if append else os.O_TRUNC
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | start, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    stream = PlainText(os.fdopen(descriptor, "wb", 0), "utf-8", line_buffering=True)
    sys.stdout = sys.stderr = stream
    for handler in LOGGER.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)
    # Ultralytics redraws its bars in place; as for a CI console it then prints whole lines.
    tqdm.is_noninteractive_console = lambda: True
