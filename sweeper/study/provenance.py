"""Where a study ran: machine, versions and the commit of this project."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sweeper.memory.measure.nvml import Device
from sweeper.numbers import GIB

PACKAGES = ("sweeper", "ultralytics", "torch", "optuna", "mlflow", "hydra-core")


def describe_origin(gpu: Device | None) -> dict[str, str]:
    """Machine, versions and git commit, each as text for people."""
    return {"machine": _machine(gpu), "versions": _versions(), "git_commit": _commit()}


def _machine(gpu: Device | None) -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    cores = len(os.sched_getaffinity(0))
    device = f"{gpu.name}, {gpu.total_gib:.1f} GiB" if gpu else "no GPU"
    return (
        f"{device}; {_processor()}, {cores} core{'s' if cores != 1 else ''}, "
        f"{memory_gib:.0f} GiB RAM; {platform.system()} {platform.release()}"
    )


def _processor() -> str:
    """The CPU's name; ``platform.processor()`` is empty or an architecture on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> str:
    known = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    return " · ".join([*known, f"Python {platform.python_version()}"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # sweeper itself, run from a checkout that is not installed
        return ""


def _commit() -> str:
    """The commit of this project's checkout, marked where it has changes; empty without git."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
