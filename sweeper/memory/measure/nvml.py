"""The only door to NVML (pynvml): devices and versions, with every failure named."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from sweeper.errors import SweeperError
from sweeper.numbers import GIB
from sweeper.trial.readings import EMULATED, MEASURED

Reason = Literal[
    "not_installed",
    "no_library",
    "driver_not_loaded",
    "driver_mismatch",
    "no_permission",
    "gpu_lost",
    "not_supported",
    "other",
]

# How the UUIDs of emulated cards begin (sweeper/emulator/src/machine.c).
EMULATED_UUID = "GPU-emulated-"

# Values of nvmlReturn_t, spelled out because pynvml is imported only when it is needed.
_REASONS: dict[int, Reason] = {
    3: "not_supported",
    4: "no_permission",
    9: "driver_not_loaded",
    12: "no_library",
    13: "not_supported",
    15: "gpu_lost",
    16: "gpu_lost",
    18: "driver_mismatch",
}

_MESSAGES: dict[Reason, str] = {
    "not_installed": "the Python module pynvml is missing. Install it: pip install nvidia-ml-py.",
    "no_library": "libnvidia-ml.so.1 was not found. Install the NVIDIA driver (in a container, "
    "start it with --gpus all).",
    "driver_not_loaded": "the NVIDIA kernel driver is not loaded. Run nvidia-smi to see why.",
    "driver_mismatch": "library and kernel driver differ in version. Reboot the machine.",
    "no_permission": "this user may not ask. Run as root or as the owner of the GPU.",
    "gpu_lost": "the GPU fell off the bus or needs a reset. Run nvidia-smi, then reboot.",
    "not_supported": "this driver or device does not offer the query.",
    "other": "the driver reported an error.",
}


class NvmlUnavailable(SweeperError):
    """NVML cannot answer; ``reason`` says why in one word, the message what to do."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        extra = f" ({detail})" if detail else ""
        super().__init__(f"NVML is unavailable: {_MESSAGES[reason]}{extra}")
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one MIG instance of a GPU.

    Attributes:
        index: NVML index of the physical GPU; NVML counts in PCI bus order.
        uuid: ``GPU-…`` or ``MIG-…``; the only name that is stable across CUDA's orderings.
        name: Product name.
        total_gib: Memory as nvidia-smi reports it, GiB.
    """

    index: int
    uuid: str
    name: str
    total_gib: float

    @property
    def source(self) -> str:
        """What peaks on it are: ``measured`` or ``emulated``."""
        return source_of(self.uuid)


def source_of(uuid: str) -> str:
    """What peaks on the device of this UUID are: ``measured`` or ``emulated``."""
    return EMULATED if uuid.startswith(EMULATED_UUID) else MEASURED


@dataclass(frozen=True, slots=True)
class Versions:
    """Driver version, and the newest CUDA version that the driver supports."""

    driver: str
    cuda: str


def list_devices() -> tuple[Device, ...]:
    """List every GPU in PCI bus order; a GPU in MIG mode is replaced by its instances.

    (CUDA cannot use the whole of a GPU in MIG mode, so without instances it is not listed.)
    A lost GPU is left out as long as another one answers.

    Raises:
        NvmlUnavailable: NVML cannot be used, or no GPU answers.
    """
    devices: list[Device] = []
    lost: NvmlUnavailable | None = None
    with session() as nvml:
        count = nvml.nvmlDeviceGetCount()
    for index in range(count):
        try:
            devices.extend(_devices_at(index))
        except NvmlUnavailable as error:
            lost = error
    if lost and not devices:
        raise lost
    return tuple(devices)


def versions() -> Versions:
    """Versions of the driver and of CUDA.

    Raises:
        NvmlUnavailable: NVML cannot answer.
    """
    with session() as nvml:
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        return Versions(nvml.nvmlSystemGetDriverVersion(), f"{cuda // 1000}.{cuda % 1000 // 10}")


def capability(device: Device) -> tuple[int, int]:
    """CUDA compute capability of a device, or of the GPU that an instance is part of.

    Raises:
        NvmlUnavailable: NVML cannot answer.
    """
    with session() as nvml:
        gpu = nvml.nvmlDeviceGetHandleByIndex(device.index)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(gpu)
        return major, minor


_lock = threading.Lock()
_ready_pid = 0
_handles: dict[str, Any] = {}


@contextmanager
def session() -> Iterator[Any]:
    """Yield pynvml, initialised, and turn its errors into NvmlUnavailable."""
    try:
        import pynvml
    except ImportError as error:
        raise NvmlUnavailable("not_installed") from error
    try:
        _initialise(pynvml)
        yield pynvml
    except pynvml.NVMLError as error:
        raise failure(error.value, str(error)) from error


def _initialise(nvml: Any) -> None:
    """Call nvmlInit once per process; a fork needs its own."""
    global _ready_pid
    with _lock:
        if _ready_pid != os.getpid():
            _handles.clear()
            nvml.nvmlInit()
            _ready_pid = os.getpid()


def failure(code: int, detail: str = "") -> NvmlUnavailable:
    """The exception for an nvmlReturn_t."""
    return NvmlUnavailable(_REASONS.get(code, "other"), detail or f"NVML error {code}")


def handle(nvml: Any, uuid: str) -> Any:
    """NVML's handle of a device or MIG instance, looked up once."""
    if uuid not in _handles:
        _handles[uuid] = nvml.nvmlDeviceGetHandleByUUID(uuid)
    return _handles[uuid]


def _devices_at(index: int) -> list[Device]:
    with session() as nvml:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        instances = _mig_instances(nvml, gpu)
        return [
            Device(
                index=index,
                uuid=nvml.nvmlDeviceGetUUID(device),
                name=nvml.nvmlDeviceGetName(device),
                total_gib=nvml.nvmlDeviceGetMemoryInfo(device).total / GIB,
            )
            for device in ([gpu] if instances is None else instances)
        ]


def _mig_instances(nvml: Any, gpu: Any) -> list[Any] | None:
    """Handles of the MIG instances; None where the GPU is not in MIG mode."""
    try:
        mode, _ = nvml.nvmlDeviceGetMigMode(gpu)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return None
    if mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    instances = []
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with suppress(nvml.NVMLError_NotFound):  # slots may be empty in between
            instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot))
    return instances
