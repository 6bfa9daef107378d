"""The checks of the doctor in the order they are shown: all of them, or the quick ones."""

from __future__ import annotations

import os
from dataclasses import replace

from sweeper.config.settings import Settings
from sweeper.doctor import data, gpu, jobs, machine, opencv, places, room, torch_build
from sweeper.doctor.finding import Finding, Level, failures
from sweeper.errors import MachineError

TRIALS = 24  # cells of the default space
NEEDED = {"dataset", "opencv", "storage", "torch"}  # without them no trial runs


def full_check(settings: Settings) -> list[Finding]:
    """Every check; takes some seconds: torch is imported in children, the model traced."""
    seen, devices = gpu.check_nvml(settings)
    slots = settings.executor.slots
    at_once = slots if isinstance(slots, int) else max(1, len(devices))
    of_the_data, reading = data.check_data(settings)
    return [
        seen if settings.executor.is_here else jobs.check_jobs(settings),
        *gpu.check_memory(settings, devices),
        *torch_build.check_torch(devices),
        gpu.check_allocator(devices, os.environ),
        *([machine.check_host_memory(at_once)] if settings.executor.is_here else []),
        places.check_disk(settings, settings.study.n_trials or TRIALS),
        *of_the_data,
        room.check_room(settings, reading),
        places.check_storage(settings),
        places.check_tracking(settings),
        machine.check_versions(),
        machine.check_ultralytics(settings),
        *machine.check_weights(settings),
    ]


def quick_check(settings: Settings, trials: int) -> list[Finding]:
    """The checks that take less than a second together, on a GPU as long as torch's import."""
    seen, devices = gpu.check_nvml(settings)
    return [
        seen,
        *(torch_build.check_torch(devices) if devices else [opencv.check_opencv()]),
        gpu.check_allocator(devices, os.environ),
        places.check_disk(settings, trials),
        *gpu.check_memory(settings, devices),
        data.check_presence(settings),
        places.check_storage(settings),
        machine.check_versions(),
        # A study goes on without MLflow: its records wait in the trial folders.
        as_warning(places.check_tracking(settings)),
    ]


def as_warning(finding: Finding) -> Finding:
    """The finding, a failure softened."""
    return replace(finding, level=Level.WARNING) if finding.level is Level.FAILURE else finding


def require_health(settings: Settings, trials: int) -> list[str]:
    """Run the quick checks before a study; return the warnings as lines.

    Raises:
        MachineError: A check failed; ``doctor=false`` skips them all.
    """
    if not settings.doctor:
        return []
    findings = quick_check(settings, trials)
    failed = failures(findings)
    if failed:
        lines = [f"{f.check}: {f.text} {f.remedy}".strip() for f in failed]
        if not any(f.check in NEEDED for f in failed):
            lines.append("To start all the same: doctor=false.")
        raise MachineError("\n  ".join(lines))
    return [f.line for f in findings if f.level is Level.WARNING]
