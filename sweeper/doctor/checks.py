"""The checks of the doctor in the order they are shown: all of them, or the quick ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import replace

from sweeper.config.settings import Settings
from sweeper.doctor import data, gpu, jobs, machine, opencv, places, room, torch_build
from sweeper.doctor.finding import Finding, Level, failures
from sweeper.errors import MachineError
from sweeper.study.space import Space
from sweeper.training.contents import ContentsFinder
from sweeper.training.dataset import Dataset

NEEDED = {"dataset", "opencv", "storage", "torch"}  # without them no trial runs


def full_check(space: Space) -> list[Finding]:
    """Every check; takes some seconds: torch is imported in children, the model traced."""
    settings = space.cells[0].settings
    seen, devices = gpu.check_nvml(settings)
    slots = settings.executor.slots
    at_once = slots if isinstance(slots, int) else max(1, len(devices))
    of_the_data = check_datasets(space)
    return [
        seen if settings.executor.is_here else jobs.check_jobs(settings),
        *gpu.check_memory(settings, devices),
        *torch_build.check_torch(devices),
        gpu.check_allocator(devices, os.environ),
        *([machine.check_host_memory(at_once)] if settings.executor.is_here else []),
        places.check_disk(space),
        *of_the_data,
        places.check_storage(settings),
        places.check_tracking(settings),
        machine.check_versions(),
        machine.check_ultralytics(settings),
        *(f for s in _distinct(space, lambda s: s.model.source) for f in machine.check_weights(s)),
    ]


def check_datasets(space: Space) -> list[Finding]:
    """What is found in every data set of a space, and what fits with them."""
    findings: list[Finding] = []
    finder, faults = ContentsFinder(), False
    for settings in _distinct(space, lambda s: repr(s.data)):
        found, reading = data.check_data(settings)
        findings += found
        if reading is None:  # it is not here: room for it is assumed
            continue
        if reading.faults:
            faults = True
            continue
        dataset = Dataset.of(reading)
        finder.know(settings, dataset)
        findings += data.check_batches(space, settings, dataset)
    return [*findings, *([room.LATER] if faults else room.check_room(space, finder))]


def _distinct(space: Space, key: Callable[[Settings], Hashable]) -> list[Settings]:
    """The first configuration for each value of a key."""
    found: dict[Hashable, Settings] = {}
    for cell in space.cells:
        found.setdefault(key(cell.settings), cell.settings)
    return list(found.values())


def quick_check(space: Space) -> list[Finding]:
    """The checks that take less than a second together, on a GPU as long as torch's import."""
    settings = space.cells[0].settings
    seen, devices = gpu.check_nvml(settings)
    return [
        seen,
        *(torch_build.check_torch(devices) if devices else [opencv.check_opencv()]),
        gpu.check_allocator(devices, os.environ),
        places.check_disk(space),
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


def require_health(space: Space) -> list[str]:
    """Run the quick checks before a study; return the warnings as lines.

    Raises:
        MachineError: A check failed; ``doctor=false`` skips them all.
    """
    if not space.cells[0].settings.doctor:
        return []
    findings = quick_check(space)
    failed = failures(findings)
    if failed:
        lines = [f"{f.check}: {f.text} {f.remedy}".strip() for f in failed]
        if not any(f.check in NEEDED for f in failed):
            lines.append("To start all the same: doctor=false.")
        raise MachineError("\n  ".join(lines))
    return [f.line for f in findings if f.level is Level.WARNING]
