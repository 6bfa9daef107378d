"""Many tensors as one per dtype: a file of a thousand small ones takes torch ten times as long."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch

Packed = dict[str, Any]


def pack(tree: Any) -> Packed:
    """Nested dicts and lists with every tensor copied into one per dtype, in host memory.

    What is arranged channels-last stays so: an optimizer wants its state like its parameters.
    """
    parts: dict[torch.dtype, list[torch.Tensor]] = defaultdict(list)

    def strip(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            tensor = _dense(node.detach().cpu())
            parts[node.dtype].append(tensor.as_strided((tensor.numel(),), (1,)))
            return node.dtype, tuple(tensor.shape), tensor.stride()
        return _over(node, strip)

    return {"tree": strip(tree), "tensors": {d: torch.cat(flat) for d, flat in parts.items()}}


def unpack(packed: Packed) -> Any:
    """What was packed; each tensor has memory of its own."""
    offsets: dict[torch.dtype, int] = defaultdict(int)

    def fill(node: Any) -> Any:
        if isinstance(node, tuple) and isinstance(next(iter(node), None), torch.dtype):
            dtype, shape, stride = node
            start = offsets[dtype]
            offsets[dtype] = end = start + math.prod(shape)
            return packed["tensors"][dtype][start:end].clone().as_strided(shape, stride)
        return _over(node, fill)

    return fill(packed["tree"])


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in an order that fills its memory."""
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor if last else tensor.contiguous()


def _over(node: Any, change: Any) -> Any:
    if isinstance(node, dict):
        return {key: change(value) for key, value in node.items()}
    if isinstance(node, list):
        return [change(value) for value in node]
    return node
