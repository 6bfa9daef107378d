"""Log births, sizes and deaths of the storages that torch code uses, as CUDA would use them."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from sweeper.memory.predict.cuda_kernels import MATRIX_PRODUCTS, accumulates, track_results
from sweeper.memory.predict.uncomputed import Uncomputed

# CUDA's autocast runs these in fp32 (aten/src/ATen/autocast_mode.h), the CPU's in bf16.
WIDENED = {"log_softmax", "sum", "prod", "cumsum"}  # ask for an fp32 result
FULL_PRECISION = {"pow", "exp", "log", "__pow__", "interpolate"}  # cast their input
MATRIX_PRODUCT = 0  # number of the event that marks a section's first product of matrices


class CudaAutocast(TorchFunctionMode):
    """Follow CUDA's autocast lists where the CPU's differ."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        half = args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.bfloat16
        if name == "cat":  # joins tensors of several types without casting them first
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        if half and name == "softmax":
            return WideSoftmax.apply(args[0], kwargs["dim"] if "dim" in kwargs else args[1])
        if half and name in WIDENED and kwargs.get("dtype") is None:
            kwargs = {**kwargs, "dtype": torch.float32}
        elif half and name in FULL_PRECISION:
            args = (args[0].float(), *args[1:])
        return func(*args, **kwargs)


class StorageLog(Uncomputed):  # type: ignore[no-untyped-call]
    """Log (+number, bytes) at a storage's birth and (-number, 0) at its death, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[int, int]] = []
        self.marks: dict[str, int] = {}  # name of a section -> its first event
        self.kept: list[int] = []  # storages that outlive the step
        self.counts: list[
            int
        ] = []  # results of nonzero(): sizes that depend on data, not on shapes
        self._live: dict[int, int] = {}
        self._watched: dict[int, weakref.ref[Any]] = {}  # by number
        self._births = 0
        self._open = True
        self._multiplied = False

    def mark(self, name: str) -> None:
        """Begin a section."""
        self.marks[name] = len(self.events)
        self._multiplied = False

    def ignore(self, tensors: list[torch.Tensor]) -> None:
        """Leave storages out of the log that exist already."""
        self._live.update({t.untyped_storage()._cdata: 0 for t in tensors})

    def close(self, kept: list[torch.Tensor]) -> StorageLog:
        """Stop logging deaths; `kept` outlive the step.

        What dies without a birth between is put in order: autocast frees its copies of weights in
        the order of their addresses, and no allocator minds.
        """
        self.events = _in_order(self.events, {*self.marks.values()})
        self.kept = [self._live[t.untyped_storage()._cdata] for t in kept]
        self._open = False
        return self

    def _track(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._live or storage.nbytes() == 0:
            return
        self._births += 1
        self._live[storage._cdata] = self._births
        self.events.append((self._births, storage.nbytes()))
        forget = partial(self._forget, storage._cdata, self._births)
        self._watched[self._births] = weakref.ref(storage, forget)

    def _forget(self, key: int, number: int, _: object) -> None:
        self._live.pop(key, None)
        del self._watched[number]
        if self._open:
            self.events.append((-number, 0))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in MATRIX_PRODUCTS and not self._multiplied:
            self._multiplied = True
            self.events.append((MATRIX_PRODUCT, 0))
        if accumulates(func, args):
            func = torch.ops.aten.add_.Tensor
        out = super().__torch_dispatch__(func, types, args, kwargs)
        track_results(func, args, out if isinstance(out, list | tuple) else (out,), self._track)
        if func is torch.ops.aten.nonzero.default:
            self.counts.append(len(out))
        return out


def _in_order(events: list[tuple[int, int]], cuts: set[int]) -> list[tuple[int, int]]:
    """Deaths that follow one another sorted by number; a section's begin is in `cuts`."""
    found: list[tuple[int, int]] = []
    dying: list[tuple[int, int]] = []
    for index, event in enumerate(events):
        if dying and (event[0] >= 0 or index in cuts):
            found += sorted(dying, reverse=True)
            dying = []
        (dying if event[0] < 0 else found).append(event)
    return found + sorted(dying, reverse=True)


class WideSoftmax(torch.autograd.Function):
    """CUDA's softmax from half precision to fp32 and back, which casts on the fly."""

    @staticmethod
    def forward(ctx: Any, half: torch.Tensor, dim: int) -> torch.Tensor:
        wide = torch.empty_like(half, dtype=torch.float32, memory_format=torch.contiguous_format)
        if not half.is_contiguous():
            torch.empty_like(half)  # dies at once
        with _disable_current_modes():
            wide.copy_(half.float().softmax(dim))
        ctx.save_for_backward(wide)
        return wide

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        (wide,) = ctx.saved_tensors
        narrow = torch.empty_like(wide, dtype=torch.bfloat16)
        product = torch.empty_like(grad)
        if not product.is_contiguous():
            product = torch.empty_like(wide)
        return narrow, None


class LossStandIn(torch.autograd.Function):
    """Stand for the loss between a forward and a backward that are traced apart from it."""

    @staticmethod
    def forward(ctx: Any, *preds: torch.Tensor) -> torch.Tensor:
        ctx.like = [(p.shape, p.dtype) for p in preds]
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return tuple(torch.empty(shape, dtype=dtype) for shape, dtype in ctx.like)
