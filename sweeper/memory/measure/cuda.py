"""Torch's CUDA allocator as seen from the child: cap it, read its peaks, size the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sweeper.numbers import GIB

Phase = Literal["train", "val"]

# Keys of torch.cuda.memory_stats, documented there.
ALLOCATED_PEAK = "allocated_bytes.all.peak"
RESERVED_PEAK = "reserved_bytes.all.peak"
RETRIES = "num_alloc_retries"


class CudaModule(Protocol):
    """The part of the module ``torch.cuda`` that is used here."""

    def init(self) -> None: ...
    def synchronize(self, device: int, /) -> None: ...
    def mem_get_info(self, device: int, /) -> tuple[int, int]: ...
    def memory_reserved(self, device: int, /) -> int: ...
    def memory_stats(self, device: int, /) -> dict[str, Any]: ...
    def reset_peak_memory_stats(self, device: int, /) -> None: ...
    def set_per_process_memory_fraction(self, fraction: float, device: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class AllocatorPeaks:
    """Peaks of torch's allocator, GiB, and how often it struggled.

    Attributes:
        allocated_gib: Peak of live blocks.
        reserved_gib: Peak of segments taken from the device.
        train_reserved_gib: The same while training.
        val_reserved_gib: The same while validating; segments that training left cached count.
        alloc_retries: Times the cache was flushed because a request failed: above 0 the trial
            ran at the edge of its memory.
    """

    allocated_gib: float
    reserved_gib: float
    train_reserved_gib: float
    val_reserved_gib: float
    alloc_retries: int


def torch_cuda() -> CudaModule:
    """The real module; importing torch does not initialise CUDA."""
    import torch

    return torch.cuda


def open_context(cuda: CudaModule, device: int = 0) -> None:
    """Create the CUDA context now: torch would wait for the first real call."""
    cuda.init()
    cuda.synchronize(device)


def context_gib(used_gib: float, cuda: CudaModule, device: int = 0) -> float:
    """Memory of this process outside torch's allocator, GiB: the context and its kernels.

    It grows while kernels are loaded lazily, so it is least right after ``open_context``.

    Args:
        used_gib: All the memory of this process at this moment (``sampler.UsageReader``).
    """
    return max(0.0, used_gib - cuda.memory_reserved(device) / GIB)


def cap_allocator(
    limit_gib: float, context_gib: float, cuda: CudaModule, device: int = 0
) -> float:
    """Make torch raise OutOfMemoryError before context and allocator pass the limit.

    A device with less memory than the limit stays its own limit.

    Args:
        limit_gib: Limit on the whole process, GiB.
        context_gib: What lies outside the allocator, GiB; torch's cap does not cover it. The
            larger of assumption and measurement: a fresh context has yet to load kernels.

    Returns:
        The most that the allocator may reserve, GiB.

    Raises:
        ValueError: The budget leaves nothing for the allocator.
    """
    allowed = (limit_gib - context_gib) * GIB
    if allowed <= 0:
        raise ValueError(
            f"a budget of {limit_gib:g} GiB leaves nothing beside the CUDA context of "
            f"{context_gib:.2f} GiB"
        )
    _, total = cuda.mem_get_info(device)
    fraction = min(1.0, allowed / total)
    # A fraction of the device total: CUDACachingAllocator counts reserved bytes against it.
    cuda.set_per_process_memory_fraction(fraction, device)
    return fraction * total / GIB


class PhasePeaks:
    """Keeps the allocator's peaks for training and validation apart.

    Creating it resets torch's peak statistics; what happens before the first ``switch`` is
    training, so that building the model counts there.
    """

    def __init__(self, cuda: CudaModule, device: int = 0) -> None:
        self._cuda = cuda
        self._device = device
        self._phase: Phase = "train"
        self._allocated = 0
        self._reserved: dict[Phase, int] = {"train": 0, "val": 0}
        self._retries_before = int(cuda.memory_stats(device).get(RETRIES, 0))
        cuda.reset_peak_memory_stats(device)

    def switch(self, phase: Phase) -> None:
        """Close the running phase and begin another."""
        self._keep()
        self._cuda.reset_peak_memory_stats(self._device)
        self._phase = phase

    def read(self) -> AllocatorPeaks:
        """The peaks so far, the running phase included."""
        stats = self._keep()
        return AllocatorPeaks(
            allocated_gib=self._allocated / GIB,
            reserved_gib=max(self._reserved.values()) / GIB,
            train_reserved_gib=self._reserved["train"] / GIB,
            val_reserved_gib=self._reserved["val"] / GIB,
            alloc_retries=int(stats.get(RETRIES, 0)) - self._retries_before,
        )

    def _keep(self) -> dict[str, Any]:
        stats = self._cuda.memory_stats(self._device)  # empty before CUDA is initialised
        self._allocated = max(self._allocated, int(stats.get(ALLOCATED_PEAK, 0)))
        reserved = max(self._reserved[self._phase], int(stats.get(RESERVED_PEAK, 0)))
        self._reserved[self._phase] = reserved
        return stats
