"""The GPUs that the slots will use: visible, idle, large enough."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.errors import SettingsError, SweeperError
from sweeper.executors.devices import used_devices
from sweeper.executors.machine import NO_GPU
from sweeper.memory.cards import find_budget
from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
from sweeper.memory.measure.nvml import Device, NvmlUnavailable, list_devices
from sweeper.memory.measure.visible import visible_devices
from sweeper.trial.alloc_conf import VARIABLES


def check_nvml(settings: Settings) -> tuple[Finding, tuple[Device, ...]]:
    """Ask NVML for the GPUs in use; a machine without one is fine, a broken driver is not.

    A driver that is not loaded may be either.
    """
    if not settings.executor.is_here:
        return ok("gpu", f"executor={settings.executor.name}: each job looks at its own"), ()
    simulated = f"memory will be simulated for {settings.vram.fallback_card}"
    if settings.vram.card != "auto":
        simulated = f"memory will be simulated for {settings.vram.card}"
    try:
        listed = list_devices()
    except NvmlUnavailable as error:
        if error.reason == "driver_not_loaded":
            text = f"NVIDIA's library is here but its driver is not loaded: {simulated}."
            do = "With a GPU here, run nvidia-smi and repair the driver; without one, all is well."
            return warning("gpu", text, do), ()
        if error.reason in NO_GPU:
            return ok("gpu", f"none on this machine: {simulated}"), ()
        return failure("gpu", str(error), "Repair the driver; doctor=false trains on the CPU."), ()
    seen = visible_devices(listed, os.environ)
    if not seen.devices:
        hidden = warning(
            "gpu",
            f"CUDA_VISIBLE_DEVICES hides all {len(listed)} GPU(s): {simulated}.",
            "Unset it to train on them.",
        )
        return (hidden if listed else ok("gpu", f"none on this machine: {simulated}")), ()
    try:
        used = used_devices(seen.devices, settings.executor.slots)
    except SettingsError as error:
        return failure("gpu", str(error), ""), seen.devices
    names = ", ".join(f"{d.name} {d.total_gib:.1f} GiB" for d in used)
    if seen.note:
        return warning("gpu", f"{names}.", seen.note), used
    return ok("gpu", names), used


def check_memory(settings: Settings, devices: tuple[Device, ...]) -> list[Finding]:
    """Compare free device memory with the budget, and name who holds the rest."""
    if not devices:
        return []
    gpu = min(devices, key=lambda device: device.total_gib)
    try:
        budget = find_budget(settings.vram, gpu)
        return [_idle(device, budget.limit_gib) for device in devices]
    except SweeperError as error:
        return [failure("gpu memory", str(error), "")]


def _idle(device: Device, limit_gib: float) -> Finding:
    free = device.total_gib - DeviceUsage(device.uuid).used_gib()
    holders = [
        f"pid {pid}" + (f" {gib:.2f} GiB" if gib is not None else "")
        for pid, gib in sorted(processes_gib(device.uuid).items())
    ]
    text = f"{device.name}: {free:.2f} GiB free, budget {limit_gib:.2f} GiB"
    held = f"; in use by {', '.join(holders)}" if holders else ""
    if free < limit_gib:
        smaller = math.floor(10 * free) / 10
        instead = f", or set vram.budget_gib={smaller}" if smaller >= 1 else ""
        return failure("gpu memory", f"{text}{held}.", f"End what holds it{instead}.")
    if holders:
        return warning(
            "gpu memory", f"{text}{held}.", "Other processes disturb time and memory: end them."
        )
    return ok("gpu memory", f"{text}, idle")


def check_allocator(devices: tuple[Device, ...], environ: Mapping[str, str]) -> Finding:
    """cudaMallocAsync keeps no statistics and knows no cap, so nothing could be measured."""
    for name in VARIABLES:
        if re.search(r"backend\s*:\s*cudaMallocAsync", environ.get(name, "")):
            text = f"{name}={environ[name]}: this backend keeps no statistics to measure with."
            level = failure if devices else warning
            return level("allocator", text, f"Unset {name} for the study.")
    return ok("allocator", "torch's own, so that its peaks can be measured")
