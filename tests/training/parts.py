"""One part of a run in a process of its own, and what is left of it when it ends."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import SETTINGS
from ultralytics.utils.metrics import DetMetrics

from sweeper.executors.supervise import warm_up
from sweeper.training import trainer as training
from sweeper.training.checkpoint import Part
from sweeper.training.run import ultralytics_arguments
from sweeper.training.trainer import TrialTrainer
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport
from sweeper.trial.spec import TrialSpec

TIMES = {"time", "train_time_s", "epoch_s", "batch_s"}


@dataclass(frozen=True)
class Twists:
    """What a spec cannot ask for.

    Attributes:
        workers: Processes that load images; Ultralytics has none on the CPU.
        scaler: Whether gradients are scaled, as on a GPU; the scale grows every second step.
        fitness: What each epoch is worth, in place of its mAP.
        die_in_batch: Micro-batches of the run after which the process is killed.
        die_after_epoch: Epoch after whose report the process is killed.
        save_between: Whether every epoch leaves a checkpoint, not only one in some minutes.
    """

    workers: int = 0
    scaler: bool = False
    fitness: tuple[float, ...] = ()
    die_in_batch: int | None = None
    die_after_epoch: int | None = None
    save_between: bool = False


def train_part(spec: TrialSpec, folder: Path, part: Part | None, twists: Twists) -> dict[str, Any]:
    """Train in a child process; ``{}`` where it was killed."""
    warm_up()
    result = folder / "left.json"
    result.unlink(missing_ok=True)
    arguments = (spec, folder, part, twists, result)
    child = multiprocessing.get_context("forkserver").Process(target=_child, args=arguments)
    child.start()
    child.join()
    if child.exitcode == -signal.SIGKILL:
        return {}
    assert child.exitcode == 0, (folder / "log.txt").read_text()
    left: dict[str, Any] = json.loads(result.read_text())
    return left


def _child(spec: TrialSpec, folder: Path, part: Part | None, twists: Twists, result: Path) -> None:
    folder.mkdir(exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    dict.__setitem__(SETTINGS, "mlflow", False)
    if twists.save_between:
        training.CHECKPOINT_S = 0.0
    trainer = TrialTrainer(
        spec,
        ultralytics_arguments(spec, TrialFolder(folder), "cpu"),
        lambda report: _die(report.epoch == twists.die_after_epoch),
        lambda done, total: _die(done == twists.die_in_batch),
        part,
    )
    torch.set_num_threads(1)
    trainer.args.workers = twists.workers
    if twists.scaler:
        _scale_gradients(trainer)
    if twists.fitness:
        DetMetrics.fitness = property(lambda metrics: twists.fitness[trainer.epoch])
    trainer.train()
    result.write_text(json.dumps(_left(trainer)))


def _die(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def _scale_gradients(trainer: TrialTrainer) -> None:
    resume: Callable[[Any], None] = trainer.resume_training

    def with_scaler(ckpt: Any) -> None:
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=4096.0, growth_interval=2)
        resume(ckpt)

    trainer.resume_training = with_scaler  # type: ignore[method-assign]


def _left(trainer: TrialTrainer) -> dict[str, Any]:
    with trainer.csv.open() as file:
        rows = list(csv.DictReader(file))
    seconds = [float(row.pop("time")) for row in rows]
    left: dict[str, Any] = {
        "paused": trainer.paused,
        "iterations": trainer.iterations,
        "optimizer_steps": trainer.optimizer_steps,
        "reports": [_numbers(report) for report in trainer.reports],
        "rows": rows,
        "clock_goes_on": seconds == sorted(seconds),
        "model": _digest(trainer.model.state_dict()),
        "ema": _digest(trainer.ema.ema.state_dict()),
        "ema_updates": trainer.ema.updates,
        "optimizer": _digest(trainer.optimizer.state_dict()),
        "scaler": trainer.scaler.state_dict(),
        "classes": trainer.class_map50,
        "stopper": [float(trainer.stopper.best_fitness), trainer.stopper.best_epoch],
    }
    if trainer.best.exists():
        best = torch.load(trainer.best, weights_only=False)
        left["best"] = _digest(best["model"].state_dict())
        left["best_metrics"] = {k: float(v) for k, v in best["train_metrics"].items()}
    return left


def _numbers(report: EpochReport) -> dict[str, float]:
    return {k: getattr(report, k) for k in EpochReport.__slots__ if k not in TIMES}


def _digest(state: Any) -> str:
    sha = hashlib.sha256()
    _add(sha, state)
    return sha.hexdigest()


def _add(sha: Any, value: Any) -> None:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            sha.update(str(key).encode())
            _add(sha, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _add(sha, item)
    elif torch.is_tensor(value):
        sha.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        sha.update(repr(value).encode())
