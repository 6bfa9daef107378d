"""What CUDA's operators allocate inside, where a dispatch mode on the CPU sees nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

ATEN = torch.ops.aten
# A product of matrices takes cuBLAS's handle, and with it a workspace.
MATRIX_PRODUCTS = {ATEN.mm.default, ATEN.bmm.default, ATEN.mv.default, ATEN.addmm.default}
SOLE_OWNER = 2  # references to a storage: its tensor and the Python object that asks

Track = Callable[[torch.Tensor], None]
Tensors = Sequence[torch.Tensor | None]


def track_results(func: Any, args: Any, results: Tensors, track: Track) -> None:
    """Log an operator's results, and what its CUDA kernels hold meanwhile, in their order.

    Models are channels-last on CUDA (Ultralytics' trainer); what is not, is rearranged first.
    """
    if func is ATEN.convolution_backward.default:
        _convolution_backward(args, results, track)
    held = _rearranged(args[0], track) if func in REARRANGED_BEFORE else None
    for result in results:
        if isinstance(result, torch.Tensor):
            track(result)
    del held
    if func in REARRANGED_AFTER:
        _rearranged(args[0], track)
    elif func in SCRATCH:
        SCRATCH[func](args, results, track)


def accumulates(func: Any, args: Any) -> bool:
    """Whether autograd adds a gradient in place: to what nobody else holds (input_buffer.cpp).

    Under a dispatch mode it never does.
    """
    if func is not ATEN.add.Tensor or torch._C._current_graph_task_id() == -1:
        return False
    storage = args[0].untyped_storage()
    dense = storage.nbytes() == args[0].numel() * args[0].element_size()
    return dense and torch._C._storage_Use_Count(storage._cdata) == SOLE_OWNER


def _rearranged(tensor: torch.Tensor, track: Track) -> torch.Tensor | None:
    """A channels-last copy of a feature map that is arranged in another way."""
    if tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last):
        return None
    copy = torch.empty_like(tensor, memory_format=torch.channels_last)
    track(copy)
    return copy


def _convolution_backward(args: Any, grads: Tensors, track: Track) -> None:
    """cuDNN computes one gradient after the other (ATen/native/cudnn/ConvShared.cpp)."""
    held = _rearranged(args[1], track) if args[-1][1] else None
    for grad in grads[:2]:
        if grad is None:
            continue
        if grad is grads[0]:
            track(grad)
            _rearranged(args[0], track)
        else:
            copy = _rearranged(args[0], track)
            track(grad)
            del copy
    del held


def _softmax(args: Any, results: Tensors, track: Track) -> None:
    if not args[0].is_contiguous():
        track(torch.empty_like(args[0]))


def _softmax_backward(args: Any, results: Tensors, track: Track) -> None:
    product = args[0] * args[1]
    track(product)
    if not product.is_contiguous():
        track(torch.empty_like(product))


def _cross_entropy(args: Any, results: Tensors, track: Track) -> None:
    """log_sigmoid(input) stands beside the result (ATen/native/Loss.cpp)."""
    track(torch.empty_like(args[0]))


# Sources: ATen/native/Convolution.cpp, cudnn/BatchNorm.cpp.
REARRANGED_BEFORE = {ATEN.convolution.default, ATEN.native_batch_norm_backward.default}
# cuda/DilatedMaxPool2d.cu, cuda/UpSampleNearest2d.cu: after the result, which is structured.
REARRANGED_AFTER = {
    ATEN.max_pool2d_with_indices_backward.default,
    ATEN.upsample_nearest2d_backward.default,
}
SCRATCH = {
    ATEN._softmax.default: _softmax,  # cuda/SoftMax.cu
    ATEN._softmax_backward_data.default: _softmax_backward,
    ATEN.binary_cross_entropy_with_logits.default: _cross_entropy,
}
