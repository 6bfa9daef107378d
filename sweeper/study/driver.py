"""A driver: the process that runs a study, and whether it still lives."""

from __future__ import annotations

import getpass
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sweeper.study.identity import new_id

EXPIRES_S = 60.0  # after its last sign of life, by the database's clock


@dataclass(frozen=True, slots=True)
class Driver:
    """A process that runs a study.

    Attributes:
        id: Nobody else has it.
        who: User, machine and process, for people.
        place: Boot and pid namespace: where ``pid`` means this process.
        pid: Its process.
        started: When that started, as the kernel counts: pids are used again.
        since: When it took the lease, Unix seconds of the database.
        seen: When it gave its last sign of life, likewise.
    """

    id: str
    who: str
    place: str
    pid: int
    started: str
    since: float
    seen: float

    @classmethod
    def here(cls, now: float) -> Driver:
        """This process."""
        pid = os.getpid()
        who = f"{_user()}@{platform.node()}, process {pid}"
        return cls(new_id(), who, _place(), pid, _start_of(pid), now, now)

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, where this process can see its end."""
        return self.place == _place()

    def is_gone(self, now: float) -> bool:
        """Whether it has died on this machine, or given no sign of life for too long."""
        died = self.is_here and _has_ended(self.pid, self.started)
        return died or now - self.seen > EXPIRES_S


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _has_ended(pid: int, started: str) -> bool:
    """Whether the process that started then is gone; /proc may hide those of other users."""
    if found := _start_of(pid):
        return found != started
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists()  # one that nobody has waited for yet


def _start_of(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty when it has ended or is hidden."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()  # after the name, which may hold anything
    return "" if state in {"Z", "X"} else rest[18]
