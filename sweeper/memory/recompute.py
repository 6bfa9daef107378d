"""Activation checkpointing: a model's layers compute their activations again in the backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Context = AbstractContextManager[None]


def recompute(model: Any, part: str) -> None:
    """Have a detection model keep what its layers put out, and compute what they hold anew.

    Gradients and statistics of BatchNorm stay what they are, bit for bit where kernels are
    deterministic. What the model's layers compute without gradients is not touched.

    Args:
        model: An Ultralytics DetectionModel that is about to train; copies of it recompute, too.
        part: ``none``, ``backbone`` or ``all`` layers.
    """
    count = {"none": 0, "backbone": len(model.yaml["backbone"]), "all": len(model.model)}[part]
    for layer in model.model[:count]:
        if next(layer.parameters(), None) is not None:  # else it holds nothing
            layer.forward = partial(_forward, layer.forward, layer)


def _forward(forward: Callable[..., Any], layer: nn.Module, *inputs: Any) -> Any:
    contexts = partial(_contexts, layer)
    return checkpoint(  # nothing random happens in a layer
        forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )


def _contexts(layer: nn.Module) -> tuple[Context, Context]:
    """Those of the first time and of the second."""
    return nullcontext(), _without_statistics(layer)


@contextmanager
def _without_statistics(layer: nn.Module) -> Iterator[None]:
    """BatchNorm has averaged this batch already: now it counts for nothing."""
    norms = [module for module in layer.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
