"""Torch's CUDA allocator on the one device of this process: capped, and its peaks by phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sweeper.numbers import GIB

Phase = Literal["train", "val"]

# Keys of torch.cuda.memory_stats, documented there.
ALLOCATED_PEAK = "allocated_bytes.all.peak"
RESERVED_PEAK = "reserved_bytes.all.peak"
RETRIES = "num_alloc_retries"


def cap_allocator(limit_gib: float, context_gib: float) -> float:
    """Make torch raise OutOfMemoryError before context and allocator pass the limit.

    A device with less memory than the limit stays its own limit.

    Args:
        limit_gib: Limit on the whole process, GiB.
        context_gib: What lies outside the allocator, GiB; torch's cap does not cover it.

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
    # CUDACachingAllocator counts reserved bytes against a fraction of the device's total.
    total = torch.cuda.get_device_properties(0).total_memory
    fraction = min(1.0, allowed / total)
    torch.cuda.set_per_process_memory_fraction(fraction, 0)
    return fraction * total / GIB


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that failed although the cache was flushed, as things stood then, bytes.

    Attributes:
        asked: The segment that was asked for.
        reserved: What the allocator held.
        allowed: The most that it may hold: its cap, without one the device's total.
        free: What the device had left.
    """

    asked: int
    reserved: int
    allowed: int
    free: int

    @property
    def by_cap(self) -> bool:
        """Whether the cap refused it, which torch looks at before it asks the device."""
        return self.reserved + self.asked > self.allowed


def watch_refusals(note: Callable[[Refusal], None]) -> None:
    """Have ``note`` called with each refusal from now on, also with those that are swallowed."""

    def observe(device: int, asked: int, allowed: int, free: int) -> None:
        note(Refusal(asked, torch.cuda.memory_reserved(device), allowed, free))

    torch._C._cuda_attach_out_of_memory_observer(observe)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class AllocatorPeaks:
    """Peaks of torch's allocator, GiB, and how often it struggled.

    Attributes:
        allocated_gib: Peak of live blocks.
        reserved_gib: Peak of segments taken from the device.
        train_reserved_gib: The same before anything was validated: later on, training also holds
            the segments that validation has left cached.
        val_reserved_gib: The same while validating; segments that training left cached count.
        alloc_retries: Times the cache was flushed because a request failed: above 0 the trial
            ran at the edge of its memory.
    """

    allocated_gib: float
    reserved_gib: float
    train_reserved_gib: float
    val_reserved_gib: float
    alloc_retries: int


class PhasePeaks:
    """Keeps the allocator's peaks for training and validation apart.

    Creating it resets torch's peak statistics; what happens before the first ``switch`` is
    training, so that building the model counts there.
    """

    def __init__(self) -> None:
        self._phase: Phase = "train"
        self._validated = False
        self._allocated = self._reserved = 0
        self._by_phase: dict[Phase, int] = {"train": 0, "val": 0}
        torch.cuda.reset_peak_memory_stats(0)
        self._retries_before = _statistics()[RETRIES]

    def switch(self, phase: Phase) -> None:
        """Close the running phase and begin another."""
        self._keep()
        torch.cuda.reset_peak_memory_stats(0)
        self._phase = phase
        self._validated |= phase == "val"

    @property
    def reserved_gib(self) -> float:
        """Peak of segments in the running phase."""
        return float(_statistics()[RESERVED_PEAK]) / GIB

    def read(self) -> AllocatorPeaks:
        """The peaks so far, the running phase included."""
        stats = self._keep()
        return AllocatorPeaks(
            allocated_gib=self._allocated / GIB,
            reserved_gib=self._reserved / GIB,
            train_reserved_gib=self._by_phase["train"] / GIB,
            val_reserved_gib=self._by_phase["val"] / GIB,
            alloc_retries=stats[RETRIES] - self._retries_before,
        )

    def _keep(self) -> dict[str, Any]:
        stats = _statistics()
        self._allocated = max(self._allocated, stats[ALLOCATED_PEAK])
        self._reserved = max(self._reserved, stats[RESERVED_PEAK])
        if self._phase == "val" or not self._validated:
            known = self._by_phase[self._phase]
            self._by_phase[self._phase] = max(known, stats[RESERVED_PEAK])
        return stats


def _statistics() -> dict[str, Any]:
    return dict(torch.cuda.memory_stats(0))
