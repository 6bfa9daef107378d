"""The GPU of one trial, seen from the child: pinned, capped to the budget and measured."""

from __future__ import annotations

import os

from sweeper.memory.measure.cuda import (
    CudaModule,
    PhasePeaks,
    cap_allocator,
    context_gib,
    open_context,
    torch_cuda,
)
from sweeper.memory.measure.meter import allocator_reading
from sweeper.memory.measure.nvml import NvmlUnavailable, source_of
from sweeper.memory.measure.sampler import UsageReader
from sweeper.numbers import GIB
from sweeper.trial.record import MemoryReading, TrialSpec

DRIVER_GIB = 0.5  # the most that driver and display keep of a device's total


class DeviceMeter:
    """Holds the allocator to the budget and keeps its peaks.

    Attributes:
        phases: Peaks of training and validation, kept apart.
    """

    def __init__(
        self, spec: TrialSpec, cuda: CudaModule, reader: UsageReader | None, source: str
    ) -> None:
        """Open the context on the one visible device and cap the allocator."""
        self._limit_gib, self._assumed_context_gib = spec.limit_gib, spec.context_gib
        self._cuda, self._reader, self._source = cuda, reader, source
        open_context(cuda)
        # A fresh context has yet to load its kernels: the larger of both figures.
        context = max(self._measured_context_gib() or 0.0, spec.context_gib)
        cap_allocator(spec.limit_gib, context, cuda)
        self.phases = PhasePeaks(cuda)

    def read(self) -> MemoryReading:
        """The peaks so far; the context is read again, because it grows with its kernels."""
        measured = self._measured_context_gib()
        peaks = self.phases.read()
        return allocator_reading(peaks, measured, self._assumed_context_gib, self._source)

    def shortfall(self) -> str:
        """Why running out of memory proves nothing about the budget; empty when it does."""
        free, total = (n / GIB for n in self._cuda.mem_get_info(0))
        context = self._measured_context_gib() or self._assumed_context_gib
        own = self._cuda.memory_reserved(0) / GIB + context
        if free + own >= self._limit_gib - DRIVER_GIB:
            return ""
        return (
            f"the budget of {self._limit_gib:.2f} GiB was not there: other processes hold "
            f"{max(0.0, total - free - own):.2f} of the device's {total:.2f} GiB. End them, or "
            "lower vram.budget_gib"
        )

    def _measured_context_gib(self) -> float | None:
        if self._reader is None:
            return None
        try:
            return context_gib(self._reader.read(os.getpid()).gib, self._cuda)
        except NvmlUnavailable:
            return None


def start_meter(spec: TrialSpec, device: str) -> DeviceMeter | None:
    """Pin this process to the trial's GPU and meter it; None on the CPU.

    Args:
        spec: The trial.
        device: ``cpu``, or the UUID of its GPU.
    """
    if device == "cpu":
        return None
    # By UUID, as NVML counts in PCI bus order and CUDA by default the fastest first; before CUDA
    # is first touched.
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        reader = UsageReader(device)
    except NvmlUnavailable:
        reader = None
    return DeviceMeter(spec, torch_cuda(), reader, source_of(device))
