"""Which devices the trials of this machine run on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.errors import SettingsError
from sweeper.executors.machine import CPU, machine_here
from sweeper.memory.measure.nvml import Device


@dataclass(frozen=True, slots=True)
class Devices:
    """One entry per slot, and the GPU whose memory is the budget.

    Attributes:
        names: ``cpu`` or a GPU's UUID, one per slot.
        gpu: The smallest of the GPUs in use; None on the CPU.
        notes: What a person should hear before the study starts.
    """

    names: tuple[str, ...]
    gpu: Device | None
    notes: tuple[str, ...] = ()


def find_devices(slots: int | str) -> Devices:
    """The devices for ``executor.slots``: a number, or ``auto``.

    Raises:
        SettingsError: More slots than visible GPUs, or than cores.
    """
    here = machine_here()
    if here.gpu is None:
        return Devices(_cpu(slots), None, here.notes)
    used = used_devices(here.gpus, slots)
    names = tuple(device.uuid for device in used)
    return Devices(names, here.with_gpus(names).gpu, here.notes)


def _cpu(slots: int | str) -> tuple[str, ...]:
    count, cores = 1 if slots == "auto" else int(slots), len(os.sched_getaffinity(0))
    if count > cores:
        raise SettingsError(
            f"executor.slots must not exceed the {cores} core(s) without a GPU but got {count}."
        )
    return (CPU,) * count


def used_devices(visible: Sequence[Device], slots: int | str) -> tuple[Device, ...]:
    """The GPUs that ``executor.slots`` takes of the visible ones.

    Raises:
        SettingsError: There are fewer: two trials on one GPU would be measured as one.
    """
    wanted = len(visible) if slots == "auto" else int(slots)
    if wanted > len(visible):
        raise SettingsError(
            f"executor.slots must not exceed the {len(visible)} visible GPU(s) but got {wanted}: "
            "two trials on one GPU could not be measured apart."
        )
    return tuple(visible[:wanted])
