"""Operators without their values: a trace asks for sizes, and bf16 takes a CPU long."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten


class Uncomputed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Convolutions of images give results of their sizes and strides, random numbers nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return (
            False  # else torch wraps the method below in torch._dynamo, whose import takes 1.5 s
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ATEN.uniform_.default:
            return args[0]
        if func is ATEN.convolution.default and _of_images(args[0], args[6]):
            return _convolution(*args[:6], groups=args[8])
        if func is ATEN.convolution_backward.default and _of_images(args[1], args[7]):
            return _convolution_backward(*args[:3], wanted=args[10])
        return func(*args, **(kwargs or {}))


def _of_images(inputs: torch.Tensor, transposed: bool) -> bool:
    return inputs.ndim == 4 and not transposed


def _convolution(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    *,
    groups: int,
) -> torch.Tensor:
    if inputs.shape[1] != weight.shape[1] * groups:
        taken = weight.shape[1] * groups
        raise RuntimeError(f"a convolution of {taken} channels is given {inputs.shape[1]}")
    sides = [
        (side + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for side, kernel, step, pad, gap in zip(
            inputs.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    shape = (len(inputs), len(weight), *sides)
    return torch.empty(shape, dtype=inputs.dtype, memory_format=torch.channels_last)


def _convolution_backward(
    grad: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, *, wanted: list[bool]
) -> tuple[torch.Tensor | None, ...]:
    grads = (
        torch.empty_like(inputs, memory_format=torch.channels_last),
        torch.empty_like(weight),
        grad.new_empty(len(weight)),
    )
    return tuple(g if w else None for g, w in zip(grads, wanted, strict=True))
