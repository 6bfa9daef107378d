"""Run one section of a training step, tiny and on the CPU, under the storage log."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from sweeper.memory.predict.storage_log import CudaAutocast, LossStandIn, StorageLog


def trace_setup(model: Any) -> tuple[Any, StorageLog]:
    """Weights move to the device, are arranged channels-last, and the EMA copies them.

    Returns:
        The EMA model, and the log.
    """
    log = StorageLog()
    with log:
        log.mark("weights")
        model._apply(torch.clone)
        model.to(memory_format=torch.channels_last)
        log.mark("ema")
        ema = copy.deepcopy(model).eval()
    return ema.requires_grad_(False), log.close([])


def trace_model(model: Any, amp: bool, batch: int, imgsz: int) -> StorageLog:
    """One forward and backward, without the loss that stands between `forward` and `release`."""
    parameters = list(model.parameters())
    image = torch.rand(batch, 3, imgsz, imgsz)
    log = StorageLog()
    log.ignore([*parameters, *model.buffers(), image])
    with log:
        log.mark("forward")
        with autocast(amp):
            preds = model.predict(image)
            stand_in = LossStandIn.apply(*outputs(preds))
            log.mark("release")
            del preds
        log.mark("backward")
        with CudaAutocast() if amp else nullcontext():  # layers may be computed again
            _backward(stand_in)
        del stand_in
        gc.collect(0)  # recomputed layers leave cycles; only what is new is looked at
    log.close([p.grad for p in parameters if p.grad is not None])
    model.zero_grad()
    return log


def trace_inference(ema: Any, amp: bool, batch: int, imgsz: int) -> StorageLog:
    """Validation's forward; its image is fp16 under AMP (DetectionValidator.preprocess)."""
    image = torch.rand(batch, 3, imgsz, imgsz, dtype=torch.bfloat16 if amp else torch.float32)
    log = StorageLog()
    log.ignore([*ema.parameters(), *ema.buffers(), image])
    with torch.no_grad(), log, autocast(amp):
        preds = ema.predict(image)
    log.close([])  # before the predictions go: they live on into the loss
    del preds
    return log


def trace_loss(
    model: Any, preds: Any, amp: bool, batch: int, boxes: int, strides: int, side: float
) -> StorageLog:
    """The loss of predictions like `preds`, made at 2 strides; its backward if grad is on."""
    preds = _resize(preds, batch, strides / 2)
    rows = batch * boxes
    centers = torch.rand(rows, 2) * (1 - side) + side / 2
    targets = {
        "batch_idx": torch.arange(batch).repeat_interleave(boxes).float(),
        "cls": torch.zeros(rows, 1),
        "bboxes": torch.cat([centers, torch.full((rows, 2), side)], 1),
    }
    log = StorageLog()
    log.ignore([*outputs(preds), *targets.values()])
    with log:
        log.mark("loss")
        with autocast(amp):
            loss = model.loss(targets, preds)[0].sum()
        log.mark("loss_backward")
        if loss.requires_grad:
            loss.backward()
        del loss
    return log.close([])


def _backward(value: torch.Tensor) -> None:
    """As `value.backward()`, which takes a function mode off before it begins."""
    torch.autograd.graph._engine_run_backward(
        (value,),
        (torch.ones_like(value),),
        keep_graph=False,
        create_graph=False,
        inputs=(),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def outputs(preds: Any) -> list[torch.Tensor]:
    """What the loss sends gradients to: boxes and scores of every head, not the feature maps."""
    if "feats" not in preds:
        return [tensor for head in preds.values() for tensor in outputs(head)]
    return [v for k, v in preds.items() if k != "feats" and isinstance(v, torch.Tensor)]


@contextmanager
def autocast(amp: bool) -> Iterator[None]:
    """CUDA's autocast on the CPU, in bf16: as large as fp16, for which the CPU lacks kernels."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
        if not amp:
            yield
            return
        with CudaAutocast():
            yield


def _resize(preds: Any, batch: int, grow: float) -> Any:
    if "feats" not in preds:
        return {name: _resize(head, batch, grow) for name, head in preds.items()}
    grad = torch.is_grad_enabled()
    resized: dict[str, Any] = {
        name: torch.rand(
            batch, t.shape[1], int(t.shape[2] * grow**2), dtype=t.dtype, requires_grad=grad
        )
        for name, t in preds.items()
        if name != "feats"
    }
    resized["feats"] = [  # the loss reads their height, width and dtype
        torch.zeros(batch, 1, int(t.shape[2] * grow), int(t.shape[3] * grow), dtype=t.dtype)
        for t in preds["feats"]
    ]
    return resized
