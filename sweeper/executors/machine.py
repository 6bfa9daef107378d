"""The machine that trials run on, and what is known of it."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sweeper.memory.measure.nvml import Device, NvmlUnavailable, list_devices
from sweeper.memory.measure.visible import visible_devices
from sweeper.numbers import GIB
from sweeper.trial.json_text import write_json

CPU = "cpu"  # what trials run on where there is no GPU
PACKAGES = ("sweeper", "ultralytics", "torch", "optuna", "mlflow", "hydra-core")
NO_GPU = ("no_library", "driver_not_loaded")  # of NvmlUnavailable: nothing need be wrong


@dataclass(frozen=True, slots=True)
class Machine:
    """What a trial finds where it runs.

    Attributes:
        host: Its name.
        gpus: Those that trials may use; none where they train on the CPU.
        cores: That this process may use.
        trials: How many trials run there at once.
        memory_gib: Host memory, GiB.
        processor: Name of the CPU.
        system: Operating system and release.
        versions: Of the packages that matter, and of Python, by name.
        notes: What a person should hear before the study starts.
    """

    host: str
    gpus: tuple[Device, ...] = ()
    cores: int = 1
    trials: int = 1
    memory_gib: float = 0.0
    processor: str = ""
    system: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def gpu(self) -> Device | None:
        """The smallest GPU, whose memory is the budget; None on the CPU."""
        return min(self.gpus, key=lambda gpu: gpu.total_gib, default=None)

    @property
    def kind(self) -> str:
        """The name of its devices, as trials of one study must find it: ``cpu``, or the GPU's."""
        return self.gpu.name if self.gpu else CPU

    @property
    def threads(self) -> int:
        """CPU threads of one trial.

        One core stays free, as Ultralytics leaves one: threads waiting for a busy core spin.
        """
        return max(1, (self.cores - 1) // self.trials)

    @property
    def crowd(self) -> str:
        """Why trials that are jobs cannot be measured there; empty when each is given one GPU."""
        if len(self.gpus) < 2:
            return ""
        return (
            f"{self.host} shows a job {len(self.gpus)} GPUs, so trials side by side could not be "
            "measured apart. Ask the scheduler for one, e.g. executor.slurm.gres=gpu:1."
        )

    def with_gpus(self, uuids: Sequence[str]) -> Machine:
        """The same with these GPUs only."""
        return replace(self, gpus=tuple(gpu for gpu in self.gpus if gpu.uuid in uuids))

    def describe(self) -> str:
        """GPU, CPU, memory and system, for people."""
        gpu = self.gpu
        device = f"{gpu.name}, {gpu.total_gib:.1f} GiB" if gpu else "no GPU"
        return (
            f"{device}; {self.processor}, {self.cores} core{'s' if self.cores != 1 else ''}, "
            f"{self.memory_gib:.0f} GiB RAM; {self.system}"
        )


def machine_here(trials: int = 1) -> Machine:
    """This machine, with the GPUs that CUDA_VISIBLE_DEVICES shows."""
    gpus: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        visible = visible_devices(list_devices(), os.environ)
        gpus, notes = visible.devices, (visible.note,) if visible.note else ()
    except NvmlUnavailable as error:
        notes = () if error.reason in NO_GPU else (str(error),)
    return Machine(
        socket.gethostname(),
        gpus,
        len(os.sched_getaffinity(0)),
        trials,
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB,
        _processor(),
        f"{platform.system()} {platform.release()}",
        {**_versions(), "Python": platform.python_version()},
        notes,
    )


def _processor() -> str:
    """The CPU's name; ``platform.processor()`` is empty or an architecture on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@cache  # a slot on Ray looks at its machine for each trial
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # sweeper itself, run from a checkout that is not installed
            continue
    return found


def main(found: str) -> None:
    """Write what this machine is into a file."""
    write_json(Path(found), machine_here())
