"""The GPU of one trial, seen from the child: pinned, capped to the budget and measured."""

from __future__ import annotations

import os

import torch

from sweeper.errors import first_line
from sweeper.memory.measure.device_usage import DeviceUsage
from sweeper.memory.measure.nvml import NvmlUnavailable, source_of
from sweeper.numbers import GIB
from sweeper.training.allocator import Phase, PhasePeaks, Refusal, cap_allocator, watch_refusals
from sweeper.training.kernels import load_kernels
from sweeper.trial.readings import MemoryReading
from sweeper.trial.spec import TrialSpec

DRIVER_GIB = 0.5  # the most that driver and display take of what CUDA calls the total
GROWTH_GIB = 1 / 64  # by which a context still grows in training: 6 to 12 MiB on an H200
NEAR_CAP = 0.95  # from this share of its cap on, the allocator has no room to speak of
ASSUMED = "The CUDA context is assumed, not measured."
NO_ROOM = "the GPU had no room for a CUDA context: other processes hold its memory. End them"


class NoContext(Exception):
    """The device has no memory left for a CUDA context."""


class DeviceMeter:
    """Holds the allocator to the budget and keeps its peaks."""

    def __init__(self, spec: TrialSpec, uuid: str) -> None:
        """Pin this process to the trial's GPU and open the context there.

        By UUID, as NVML counts in PCI bus order and CUDA by default the fastest first; before
        CUDA is first touched.

        Raises:
            NoContext: The device is full.
        """
        self._spec, self._source = spec, source_of(uuid)
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
        if spec.alloc_conf:
            torch._C._accelerator_setAllocatorSettings(spec.alloc_conf)
        _open_context()
        self._usage = _usage_of(uuid)
        self._peak_gib = 0.0
        self._cap_gib = float("inf")
        self._phases = PhasePeaks()
        self._refusal: Refusal | None = None  # the last one of the running phase
        watch_refusals(self._note)

    def start(self) -> None:
        """Load kernels, which the context grows by, cap the allocator and begin to measure.

        Not before Ultralytics has chosen the size of cuBLAS' workspaces, which torch reads once.
        """
        load_kernels(self._spec.amp, self._spec.optimizer)
        self._cap()
        self._phases = PhasePeaks()

    def switch(self, phase: Phase) -> None:
        """Begin another phase, under a cap that knows what the context has grown to."""
        self._keep()
        self._phases.switch(phase)
        self._refusal = None
        self._cap()

    def read(self) -> MemoryReading:
        """The peaks so far."""
        context = self._keep()
        peaks = self._phases.read()
        return MemoryReading(
            peak_gib=self._peak_gib,
            source=self._source,
            method="allocator",
            allocated_gib=peaks.allocated_gib,
            reserved_gib=peaks.reserved_gib,
            train_reserved_gib=peaks.train_reserved_gib,
            val_reserved_gib=peaks.val_reserved_gib,
            context_gib=self._spec.context_gib if context is None else context,
            alloc_retries=peaks.alloc_retries,
            alloc_conf=_allocator_settings(),
            note=ASSUMED if context is None else "",
        )

    def is_short(self) -> bool:
        """Whether the allocator was at its cap in this phase, or the budget is not there."""
        near = self._phases.reserved_gib >= NEAR_CAP * self._cap_gib
        return near or self._refusal is not None or bool(self.shortfall())

    def shortfall(self) -> str:
        """Why running out of memory proves nothing about the budget; empty when it does.

        What the cap refused is proof whoever else was there. What the device refused is proof
        where others had left the budget to this process: at that moment, for a neighbour may be
        gone by now. Where torch's allocator was refused nothing, now is all there is to look at.
        """
        total = torch.cuda.get_device_properties(0).total_memory / GIB
        if self._refusal is None:
            try:
                free = torch.cuda.mem_get_info(0)[0]
            except RuntimeError:  # after some errors CUDA answers nothing any more
                return ""
            reserved = torch.cuda.memory_reserved(0)
        elif self._refusal.by_cap and self._cap_gib < total:
            return ""
        else:
            free, reserved = self._refusal.free, self._refusal.reserved
        context = self._context_gib()
        outside = self._spec.context_gib if context is None else context
        others = total - (free + reserved) / GIB - outside
        spare = total - self._spec.limit_gib
        if others <= max(spare, DRIVER_GIB + min(0.0, spare)):
            return ""
        return (
            f"the budget of {self._spec.limit_gib:.2f} GiB was not there: other processes held "
            f"{others:.2f} of the device's {total:.2f} GiB. End them, or lower vram.budget_gib"
        )

    def _note(self, refusal: Refusal) -> None:
        self._refusal = refusal

    def _cap(self) -> None:
        """Leave room for the larger of the contexts assumed and measured, which still grows."""
        context = max((self._context_gib() or 0.0) + GROWTH_GIB, self._spec.context_gib)
        self._cap_gib = cap_allocator(self._spec.limit_gib, context)

    def _keep(self) -> float | None:
        """Add the running phase to the peak; the context, None where it is not known."""
        context = self._context_gib()
        outside = self._spec.context_gib if context is None else context
        self._peak_gib = max(self._peak_gib, self._phases.reserved_gib + outside)
        return context

    def _context_gib(self) -> float | None:
        """What this process holds outside of torch's allocator: the context and its kernels.

        None where NVML does not show the process, or less than its allocator holds: the growth of
        the device may be another's.
        """
        if self._usage is None:
            return None
        try:
            own = self._usage.processes_gib().get(os.getpid())
        except NvmlUnavailable:
            return None
        reserved = torch.cuda.memory_reserved(0) / GIB
        return None if own is None or own < reserved else own - reserved


def _allocator_settings() -> str:
    """What torch's allocator was told, under the key of old; torch 2.10 says it only here."""
    told = torch.cuda.memory._snapshot()["allocator_settings"]
    return str(told["PYTORCH_CUDA_ALLOC_CONF"])


def _open_context() -> None:
    """Create the CUDA context now: torch would wait for the first real call."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(0)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        raise NoContext(first_line(error)) from error


def _usage_of(uuid: str) -> DeviceUsage | None:
    try:
        return DeviceUsage(uuid)
    except NvmlUnavailable:
        return None
