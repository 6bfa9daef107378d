"""Run a model's training step at tiny sizes and keep what it does to memory."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel, torch_safe_load
from ultralytics.utils import LOGGER

from sweeper.memory.predict.architecture import REMEDY, Architecture, check_detector
from sweeper.memory.predict.polynomials import (
    SectionTrace,
    StepTrace,
    area,
    count_basis,
    fit,
    loss_basis,
    model_basis,
)
from sweeper.memory.predict.storage_log import StorageLog
from sweeper.memory.predict.traced_sections import (
    autocast,
    outputs,
    trace_inference,
    trace_loss,
    trace_model,
    trace_setup,
)
from sweeper.memory.predict.uncomputed import Uncomputed
from sweeper.memory.recompute import recompute

# (batch, strides per side). Two batches and three sizes determine the five terms of `model_basis`.
# Nothing may be 1: a tensor with a dimension of 1 is contiguous by chance and skips copies that
# real sizes make.
MODEL_POINTS = ((2, 2), (2, 3), (2, 4), (3, 2), (3, 3))
# (batch, boxes, strides per side, side of a box): spread so that what `nonzero` finds is
# independent of the rest.
LOSS_POINTS = (
    (2, 2, 2, 0.6),
    (2, 2, 3, 0.3),
    (2, 2, 4, 0.45),
    (2, 4, 2, 0.5),
    (2, 4, 3, 0.7),
    (2, 4, 4, 0.3),
    (3, 5, 2, 0.7),
    (3, 5, 3, 0.45),
    (3, 5, 4, 0.6),
    (3, 2, 3, 0.55),
)
BUILD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
)


def trace_step(
    architecture: Architecture, nc: int, amp: bool, checkpoint: str = "none", freeze: int = 0
) -> StepTrace:
    """Trace every section of training and validation on the CPU, in one thread.

    Raises:
        ValueError: Ultralytics cannot build or run the model, nothing of it would be trained, or
            its sizes are not polynomials.
    """
    with _quiet():
        model = _build(architecture, nc)
        model.args = get_cfg()
        model.criterion = model.init_criterion()  # once per training, not in each step
        model.train()
        _freeze(model, freeze)
        try:
            return _trace(model, amp, checkpoint)
        except ValueError as error:
            given = architecture.given
            raise ValueError(f"model={given} cannot be predicted: {error}. {REMEDY}") from error


def _freeze(model: Any, count: int) -> None:
    """As the trainer freezes the first layers, whose BatchNorm then evaluates (`_model_train`)."""
    layers = len(model.model)
    if count >= layers:
        raise ValueError(
            f"freeze={count} leaves none of the {layers} layers to train. "
            f"Try freeze={len(model.yaml['backbone'])}, the backbone."
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".dfl" not in name)
    for layer in model.model[:count].requires_grad_(False).modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


def _build(architecture: Architecture, nc: int) -> Any:
    build: Any = DetectionModel
    given = architecture.given
    try:
        definition = architecture.definition or _read_weights(architecture.weights)
        check_detector(given, definition)
        with Uncomputed():  # it looks its strides up by a forward
            return build(copy.deepcopy(definition), nc=nc, verbose=False)
    except BUILD_ERRORS as error:
        raise ValueError(f"model={given} cannot be built: {error}. {REMEDY}") from error


def _read_weights(weights: Path | None) -> Any:
    """The YAML in weights, read without running their code or installing what they import."""
    read: Any = torch_safe_load
    checkpoint = read(weights, safe_only=True)[0]
    return (checkpoint.get("ema") or checkpoint["model"]).yaml


def _trace(model: Any, amp: bool, checkpoint: str) -> StepTrace:
    ema, setup = trace_setup(model)
    recompute(model, checkpoint)
    stride = max(int(model.stride.max()), 32)
    sizes = [(batch, strides * stride) for batch, strides in MODEL_POINTS]
    points = [model_basis(*size) for size in sizes]
    if checkpoint != "none":
        trace_model(model, amp, *sizes[0])  # the first of a process frees some storages later
    steps = [trace_model(model, amp, *size) for size in sizes]
    vals = [trace_inference(ema, amp, *size) for size in sizes]
    with torch.no_grad(), Uncomputed(), autocast(amp):
        preds = model.predict(torch.rand(2, 3, 2 * stride, 2 * stride))
    losses = [trace_loss(model, preds, amp, *point) for point in LOSS_POINTS]
    with torch.no_grad():
        val_losses = [trace_loss(ema, preds, amp, *point) for point in LOSS_POINTS]
    sections = {
        **fit([[1.0]], [setup.events], []).split(setup.marks),
        "optimizer": _optimizer(model),
        **fit(points, [log.events for log in steps], steps[0].kept).split(steps[0].marks),
        **_fit_losses(losses, stride).split(losses[0].marks),
        "val_forward": fit(points, [log.events for log in vals], []),
        "val_loss": _fit_losses(val_losses, stride),
    }
    anchors = outputs(preds)[0].shape[2] / area(2 * stride)
    return StepTrace(sections, anchors, stride, _count_rates(losses, stride))


@contextmanager
def _quiet() -> Iterator[None]:
    """One thread, as tiny tensors gain nothing from more; random state and log level restored.

    The garbage collector would end storages at another event each time.
    """
    threads, level, collects = torch.get_num_threads(), LOGGER.level, gc.isenabled()
    torch.set_num_threads(1)
    LOGGER.setLevel("ERROR")
    gc.disable()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)
        LOGGER.setLevel(level)
        if collects:
            gc.enable()


def _optimizer(model: nn.Module) -> SectionTrace:
    """One state of every trained parameter, in the optimizer's order."""
    sizes = [p.untyped_storage().nbytes() for p in in_optimizer(model)]
    return fit([[1.0]], [list(enumerate(sizes, 1))], [])


def in_optimizer(model: nn.Module) -> list[nn.Parameter]:
    """Trained parameters as Ultralytics' `build_optimizer` groups them: weights, norms, biases."""
    groups: tuple[list[nn.Parameter], ...] = ([], [], [])
    for module in model.modules():
        norm = "Norm" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                groups[2 if "bias" in name else int(norm)].append(parameter)
    return [parameter for group in groups for parameter in group]


def _fit_losses(logs: list[StorageLog], stride: int) -> SectionTrace:
    points = [
        loss_basis(batch, strides * stride, boxes, [float(n) for n in log.counts])
        for (batch, boxes, strides, _), log in zip(LOSS_POINTS, logs, strict=True)
    ]
    return fit(points, [log.events for log in logs], [])


def _count_rates(logs: list[StorageLog], stride: int) -> NDArray[np.float64]:
    terms = [
        count_basis(b, strides * stride, boxes, side**2) for b, boxes, strides, side in LOSS_POINTS
    ]
    counts = np.array([log.counts for log in logs], dtype=np.float64)
    rates: NDArray[np.float64] = np.linalg.lstsq(np.array(terms), counts, rcond=None)[0].T
    return np.maximum(rates, 0)
