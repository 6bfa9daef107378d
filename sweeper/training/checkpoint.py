"""The state of a trial between two epochs: captured, written, read and restored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ultralytics.utils.torch_utils import unwrap_model

from sweeper.training.packing import pack, unpack
from sweeper.trial.readings import EpochReport

if TYPE_CHECKING:
    from sweeper.training.trainer import TrialTrainer

COUNTERS = ("iterations", "optimizer_steps", "skipped_in_a_row")
FILES = ("results.csv", "weights/best.pt")  # what one part writes and a later one goes on with
# Arguments that may differ from part to part. With other workers mosaic mixes other images, so
# the weights are those of an equally good run, not of the same one.
FREE = {"data", "name", "project", "save_dir", "save", "save_period", "workers", "verbose"}


@dataclass(frozen=True, slots=True)
class Part:
    """Some epochs of a run, on the schedule of the whole run.

    Attributes:
        until: The epoch it ends with, counted from 1.
        start: Checkpoint to go on from; None starts with the first epoch.
        end: Checkpoint to write when the part ends before the run does; None writes none.
        between: Where the checkpoint after so many epochs goes that is written now and then, in
            case the machine is taken away; None writes none.
    """

    until: int
    start: Path | None = None
    end: Path | None = None
    between: Callable[[int], Path] | None = None


class CheckpointError(Exception):
    """The checkpoint cannot be read, or belongs to another run."""


def capture(trainer: TrialTrainer) -> dict[str, Any]:
    """All that the epochs to come depend on, at the end of an epoch; tensors are not copied.

    Random states are not among it: order and augmentation follow from the seed and the sample's
    number (sweeper.training.order), and every epoch starts the generators anew.
    """
    model = unwrap_model(trainer.model)
    files = {name: trainer.save_dir / name for name in FILES}
    return {
        "arguments": _arguments(trainer),
        "epochs": trainer.epoch + 1,
        "model": model.state_dict(),
        # of a window of micro-batches that goes on in the next epoch
        "gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        "ema": trainer.ema.ema.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "best_fitness": float(trainer.best_fitness),
        "stopper": {
            "best_fitness": float(trainer.stopper.best_fitness),
            "best_epoch": trainer.stopper.best_epoch,
            "possible_stop": bool(trainer.stopper.possible_stop),
        },
        "elapsed_s": time.time() - trainer.train_time_start,
        "counters": {name: getattr(trainer, name) for name in COUNTERS},
        "reports": [asdict(report) for report in trainer.reports],
        "class_map50": trainer.class_map50,
        "files": {name: _read_bytes(path) for name, path in files.items() if path.exists()},
    }


def restore(trainer: TrialTrainer, state: dict[str, Any]) -> None:
    """Put a trainer that is set up, but has not trained, where ``state`` was captured.

    Raises:
        CheckpointError: The state is that of another run, or has come as far as it should go.
    """
    _refuse_other_run(_arguments(trainer), state["arguments"])
    if not state["epochs"] < trainer.part.until <= trainer.epochs:
        raise CheckpointError(
            f"until must lie between the checkpoint's {state['epochs']} epochs and the run's "
            f"{trainer.epochs} but got {trainer.part.until}."
        )
    model = unwrap_model(trainer.model)
    model.load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["ema_updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.best_fitness = state["best_fitness"]
    trainer.stopper.__dict__.update(state["stopper"])
    trainer.__dict__.update(state["counters"])
    trainer.reports = [EpochReport(**report) for report in state["reports"]]
    trainer.class_map50 = state.get("class_map50", {})  # older checkpoints have none
    for name, content in state["files"].items():
        (trainer.save_dir / name).write_bytes(content.numpy().tobytes())
    if getattr(model.model[-1], "one2one_cv2", None) is not None:
        # An end-to-end head shifts its losses epoch by epoch (engine/trainer.py, resume_training).
        model.criterion = model.init_criterion()
        model.criterion.updates = state["epochs"] - 1
        model.criterion.update()


def restore_in_loop(trainer: TrialTrainer, state: dict[str, Any]) -> None:
    """Put back what the training loop starts anew: gradients and the clock of results.csv."""
    trainer.train_time_start -= state["elapsed_s"]
    for name, parameter in unwrap_model(trainer.model).named_parameters():
        if name in state["gradients"]:
            parameter.grad = state["gradients"][name].to(parameter.device)


def write(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that a reader sees all of it or nothing."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".part")
    torch.save(pack(state), draft)
    os.replace(draft, path)


def read(path: Path) -> dict[str, Any]:
    """The state that `write` wrote, in host memory whatever the device was.

    Raises:
        CheckpointError: There is no such file, or it is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if "tree" in state:  # else it is of version 0.1, whose tensors lie one by one
            state = unpack(state)
    except Exception as error:  # torch.load raises whatever the damaged part leads to
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}). Delete it: the trial then starts "
            "from its first epoch."
        ) from error
    return state


def _arguments(trainer: TrialTrainer) -> dict[str, Any]:
    plain = {
        k: v
        for k, v in vars(trainer.args).items()
        if isinstance(v, bool | int | float | str | None) and k not in FREE
    }
    return {**plain, "images": len(trainer.train_loader.dataset)}


def _refuse_other_run(arguments: dict[str, Any], stored: dict[str, Any]) -> None:
    other = {k for k in arguments.keys() | stored.keys() if arguments.get(k) != stored.get(k)}
    if other:
        listed = ", ".join(f"{k} ({stored.get(k)}, now {arguments.get(k)})" for k in sorted(other))
        raise CheckpointError(f"the checkpoint is of a run with other settings: {listed}.")


def _read_bytes(path: Path) -> torch.Tensor:
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
