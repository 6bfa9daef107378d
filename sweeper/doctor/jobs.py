"""The machine that a scheduler's jobs find: asked by one, for the whole doctor only."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.errors import SweeperError
from sweeper.executors.machine import machine_here
from sweeper.executors.opening import open_executor
from sweeper.trial.spec import SINGLE


def check_jobs(settings: Settings) -> Finding:
    """Let a job look around, with the resources that a trial's job asks for."""
    try:
        executor = open_executor(settings.executor, Path(settings.runs_dir) / SINGLE)
        try:
            there = executor.machine()
        finally:
            executor.close()
    except (SweeperError, OSError) as error:
        return failure("jobs", str(error), "")
    here = machine_here().versions
    other = [
        f"{name} {found} (here {here.get(name, 'none')})"
        for name, found in there.versions.items()
        if here.get(name) != found
    ]
    found = f"{there.host}: {there.describe()}"
    if other:
        return warning(
            "jobs",
            f"{found}; it has {', '.join(other)}.",
            "Give jobs this Python, or one with the same packages.",
        )
    if there.notes:
        return warning("jobs", f"{found}.", f"{'. '.join(there.notes)}.")
    return ok("jobs", found)
