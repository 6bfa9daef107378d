"""A lease on a study, kept in its Optuna storage: one driver at a time, whatever the machine."""

from __future__ import annotations

import getpass
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from sweeper.errors import StudyError
from sweeper.study.attribute import Attribute
from sweeper.study.identity import new_id
from sweeper.study.storage import STORAGE_FAULTS, open_storage

LEASE = "lease"  # the study's attribute
BEAT_S = 10.0
EXPIRES_S = 60.0  # after the last beat, by the database's clock


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

    def is_gone(self, now: float) -> bool:
        """Whether it has died on this machine, or given no sign of life for too long."""
        died = self.place == _place() and _has_ended(self.pid, self.started)
        return died or now - self.seen > EXPIRES_S


class Lease:
    """The right to run a study, for as long as signs of life are written.

    Attributes:
        leads: Whether it is the study's own, or that of a driver that has joined it.
    """

    def __init__(self, study: optuna.Study, storage: RDBStorage) -> None:
        """Nothing is taken yet; the storage is the study's."""
        self._study, self._storage, self._name = study, storage, study.study_name
        self._attribute = self._named(LEASE)
        self.leads = True
        self._held = ""
        self._lost_to = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def driver(self) -> str:
        """The id of this driver."""
        holder = _parse(self._held)
        return holder.id if holder else ""

    def others(self) -> set[str]:
        """The ids of the drivers besides this one that live."""
        return {driver.id for driver in self.find_others()}

    def find_others(self) -> list[Driver]:
        """The drivers besides this one that live."""
        found = self._study.user_attrs.items()
        stored = [Driver(**v) for k, v in found if k.split()[0] == LEASE and v]
        others = [driver for driver in stored if driver.id != self.driver]
        now = self._attribute.now() if others else 0.0
        return [driver for driver in others if not driver.is_gone(now)]

    def take(self, join: bool = False) -> None:
        """Take the lease and keep it; where another driver has it, with ``join`` one beside it.

        Raises:
            StudyError: Another driver has it.
        """
        now, stored = self._attribute.now(), self._attribute.read()
        holder = _parse(stored)
        here = Driver.here(now)
        if holder is not None and not holder.is_gone(now):
            if not join:
                raise StudyError(self._refusal(holder, now))
            self.leads, stored = False, None
            self._attribute = self._named(f"{LEASE} {here.id}")
        self._held = json.dumps(asdict(here))
        if self._attribute.swap(stored, self._held):
            self._thread.start()
        else:
            self.take(join)  # somebody was quicker

    def _named(self, key: str) -> Attribute:
        return Attribute(self._storage.engine, self._study._study_id, key)

    def release(self) -> None:
        """Let the next one have it at once."""
        self._ended.set()
        self._thread.join(BEAT_S)
        with suppress(*STORAGE_FAULTS):  # else it expires
            self._attribute.swap(self._held, json.dumps(None))

    def require(self) -> None:
        """Go on only while nobody else has taken over.

        Raises:
            StudyError: Another driver has: this one gave no sign of life for too long.
        """
        if self._lost_to:
            raise StudyError(
                f"study.name={self._name} was taken over by {self._lost_to}: this process had "
                f"not reached study.storage for {EXPIRES_S:g} s. Its finished trials are "
                "safe; those that were running run again there."
            )

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S) and not self._lost_to:
            with suppress(*STORAGE_FAULTS):  # the next beat tells
                self._renew()

    def _renew(self) -> None:
        mine = _parse(self._held)
        assert mine is not None
        renewed = json.dumps(asdict(replace(mine, seen=self._attribute.now())))
        if self._attribute.swap(self._held, renewed):
            self._held = renewed
            return
        stored = self._attribute.read()
        holder = _parse(stored)
        if stored is not None and holder is not None and holder.id == mine.id:
            self._held = stored  # the answer to the last beat was lost
        else:
            self._lost_to = holder.who if holder else "another driver, which has ended"

    def _refusal(self, holder: Driver, now: float) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder.since))
        return (
            f"study.name={self._name} is being run by {holder.who}, since {since} (last sign of "
            f"life {max(0.0, now - holder.seen):.0f} s ago). Wait for it, stop it, or give "
            "another study.name. If it has died, the same command takes over "
            f"{EXPIRES_S:g} s after its last sign of life. To work along: study.join=true."
        )


@contextmanager
def study_lease(name: str, url: str, join: bool = False) -> Iterator[Lease]:
    """Hold the lease on a study, which is created if it is new, or join who holds it.

    Raises:
        StudyError: Another driver has it.
    """
    storage = open_storage(url)
    study = optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )
    lease = Lease(study, storage)
    lease.take(join)
    try:
        yield lease
    finally:
        lease.release()


def _parse(stored: str | None) -> Driver | None:
    content = json.loads(stored) if stored else None
    return Driver(**content) if content else None


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
