"""Kernels are loaded when they are first launched, and the CUDA context grows by them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from sweeper.trial.spec import Amp


def load_kernels(amp: Amp, optimizer: str) -> None:
    """Take an optimizer step of a convolution and a matmul, as the training will.

    On CUDA Ultralytics arranges a model channels-last and fuses Adam and AdamW. cuBLAS and cuDNN
    come with it. Afterwards the allocator holds as much as before, and no random number was drawn.

    Args:
        amp: The autocast, fp16 with a scaler.
        optimizer: Name of a class of torch.optim; another one stands for those of others.
    """
    _step(amp, getattr(torch.optim, optimizer, torch.optim.AdamW))
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    torch.cuda.synchronize(0)


def _step(amp: Amp, optimizer: type[torch.optim.Optimizer]) -> None:
    with torch.device("cuda"):
        weight = torch.zeros(16, 16, 3, 3).to(memory_format=torch.channels_last)
        weight.requires_grad_()
        images = torch.zeros(2, 16, 32, 32, requires_grad=True)  # as every layer's but the first
    dtype = torch.bfloat16 if amp == "bf16" else torch.float16
    with torch.autocast("cuda", dtype, enabled=bool(amp)):
        features = functional.conv2d(images, weight, padding=1).flatten(1)
        loss = (features @ features.T).sum()
    scaler = torch.amp.GradScaler("cuda", enabled=amp is True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    fused: Any = {"fused": True} if optimizer in {torch.optim.Adam, torch.optim.AdamW} else {}
    scaler.step(optimizer([weight], **fused))
    scaler.update()
