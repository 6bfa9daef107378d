"""Which devices CUDA_VISIBLE_DEVICES lets a process see, and what its numbers mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.memory.measure.nvml import Device


@dataclass(frozen=True, slots=True)
class VisibleDevices:
    """The devices in the order named; ``note`` is not empty when the order is uncertain."""

    devices: tuple[Device, ...]
    note: str = ""


def visible_devices(devices: Sequence[Device], environ: Mapping[str, str]) -> VisibleDevices:
    """Apply CUDA's rules for CUDA_VISIBLE_DEVICES to the devices that NVML lists.

    Unset means all. Otherwise the list holds indices or prefixes of UUIDs and ends at the first
    entry that names no device (so ``""`` and ``-1`` hide all); a device named twice hides all.
    The index of a GPU in MIG mode means its first instance.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables", and torch.cuda's parser.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return VisibleDevices(tuple(devices))
    seen: list[Device] = []
    by_index = False
    for entry in value.split(","):
        device = _named(entry.strip(), devices)
        if device is None:
            break
        if device in seen:
            return VisibleDevices(())
        by_index = by_index or not entry.strip().startswith(("GPU-", "MIG-"))
        seen.append(device)
    return VisibleDevices(tuple(seen), _order_note(devices, environ) if by_index else "")


def _named(entry: str, devices: Sequence[Device]) -> Device | None:
    if entry.startswith(("GPU-", "MIG-")):
        matches = [device for device in devices if device.uuid.startswith(entry)]
        return matches[0] if len(matches) == 1 else None
    number = re.match(r"\+?\d+", entry)  # CUDA reads with strtoul: "1gpu" is 1, "-1" is none
    if number is None:
        return None
    return next((device for device in devices if device.index == int(number[0])), None)


def _order_note(devices: Sequence[Device], environ: Mapping[str, str]) -> str:
    same = len({device.name for device in devices}) <= 1
    if same or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return ""
    return (
        "CUDA_VISIBLE_DEVICES names GPUs by index and the GPUs differ: CUDA counts the fastest "
        "first, this program in PCI bus order. Set CUDA_DEVICE_ORDER=PCI_BUS_ID or use UUIDs."
    )
