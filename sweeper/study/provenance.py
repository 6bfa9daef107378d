"""Where a study ran: machine, versions and the commit of this project."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sweeper.executors.machine import Machine


def describe_origin(machine: Machine) -> dict[str, str]:
    """Machine, versions and git commit, each as text for people."""
    versions = " · ".join(f"{name} {found}" for name, found in machine.versions.items())
    return {"machine": machine.describe(), "versions": versions, "git_commit": _commit()}


def _commit() -> str:
    """The commit of this project's checkout, marked where it has changes; empty without git."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
