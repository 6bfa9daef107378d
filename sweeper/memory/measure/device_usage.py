"""Memory in use on one device: cheap repeated readings, and who holds it."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from sweeper.memory.measure.nvml import NvmlUnavailable, failure, handle, session
from sweeper.numbers import GIB

# Compute processes on one device; more are an error, which sampling survives.
MAX_PROCESSES = 256


class DeviceUsage:
    """Repeated readings of one device at the least cost: one driver call into reused memory.

    pynvml's own functions ask twice for a process list and build an object for each process,
    which is too much 50 times a second. Only compute processes are read: a CUDA process is
    always one. Creating it and each method raise NvmlUnavailable when NVML cannot answer.
    """

    def __init__(self, uuid: str) -> None:
        with session() as nvml:
            self._handle = handle(nvml, uuid)
            # Drivers before 510 lack it; the whole device can still be read.
            self._list = getattr(nvml.nvmlLib, "nvmlDeviceGetComputeRunningProcesses_v3", None)
            self._info = nvml.nvmlLib.nvmlDeviceGetMemoryInfo
            self._processes = (nvml.c_nvmlProcessInfo_v3_t * MAX_PROCESSES)()
            self._memory = nvml.c_nvmlMemory_t()
            # Some containers list processes with 0 (HAMi-core issue 112).
            self._hidden = {0, nvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value}
        self._count = ctypes.c_uint()
        self._count_ref = ctypes.byref(self._count)
        self._memory_ref = ctypes.byref(self._memory)

    def used_gib(self) -> float:
        """Memory in use on the whole device, GiB."""
        _check(self._info(self._handle, self._memory_ref))
        return int(self._memory.used) / GIB

    def processes_gib(self) -> dict[int, float]:
        """Memory of each compute process whose figure is known, GiB by pid."""
        if self._list is None:
            raise NvmlUnavailable("not_supported")
        self._count.value = MAX_PROCESSES
        _check(self._list(self._handle, self._count_ref, self._processes))
        used: dict[int, float] = {}
        for index in range(self._count.value):
            process = self._processes[index]
            if process.usedGpuMemory not in self._hidden:
                used[process.pid] = process.usedGpuMemory / GIB
        return used


def processes_gib(uuid: str) -> dict[int, float | None]:
    """Memory of each process on the device, GiB by pid; None where the driver hides the figure.

    Empty inside most containers; the pids are those of the host's namespace.

    Raises:
        NvmlUnavailable: NVML cannot answer.
    """
    with session() as nvml:
        device = handle(nvml, uuid)
        listed = list(nvml.nvmlDeviceGetComputeRunningProcesses_v3(device))
        with suppress(nvml.NVMLError_NotSupported):  # MIG instances run no graphics
            listed += nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(device)
    used: dict[int, float | None] = {}
    for process in listed:
        # A "C+G" process is on both lists with the same total: keep it once.
        if process.usedGpuMemory:
            used[process.pid] = max(used.get(process.pid) or 0.0, process.usedGpuMemory / GIB)
        else:
            used.setdefault(process.pid, None)
    return used


def _check(code: int) -> None:
    if code:
        raise failure(code)
