"""A lease on a study, kept in its Optuna storage: one driver at a time, whatever the machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import optuna
from optuna.storages import RDBStorage

from sweeper.errors import StudyError
from sweeper.study.attribute import Attribute
from sweeper.study.driver import EXPIRES_S, Driver
from sweeper.study.storage import STORAGE_FAULTS, open_storage

LEASE = "lease"  # the study's attribute
BEAT_S = 10.0


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
        self._lost_to, self._beat_at = "", 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def driver(self) -> str:
        """The id of this driver."""
        holder = _parse(self._held)
        return holder.id if holder else ""

    def others(self) -> set[str]:
        """The ids of the drivers besides this one that live; none that is gone comes back."""
        others = self._find_others()
        now = self._attribute.now() if others else 0.0
        return {d.id for key, d in others if not (d.is_gone(now) and self._end(key, d))}

    def find_others(self) -> list[Driver]:
        """The drivers besides this one that live."""
        others = self._find_others()
        now = self._attribute.now() if others else 0.0
        return [driver for _, driver in others if not driver.is_gone(now)]

    def _find_others(self) -> list[tuple[str, Driver]]:
        found = self._study.user_attrs.items()
        stored = [(k, Driver(**v)) for k, v in found if k.split()[0] == LEASE and v]
        return [(key, driver) for key, driver in stored if driver.id != self.driver]

    def _end(self, key: str, driver: Driver) -> bool:
        """End the lease of one that is gone; False where it has just shown that it lives."""
        return self._named(key).swap(json.dumps(asdict(driver)), json.dumps(None))

    def take(self, join: bool = False) -> None:
        """Take the lease and keep it; where another driver has it, with ``join`` one beside it.

        Raises:
            StudyError: Another driver has it.
        """
        self._beat_at = _uptime()
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

    def require(self, surely: bool = False) -> None:
        """Go on only while nobody else has taken over.

        Args:
            surely: Ask now, and go on only where nobody can have.

        Raises:
            StudyError: Another driver has: this one gave no sign of life for too long.
        """
        if surely:
            with suppress(*STORAGE_FAULTS):
                self._renew()
        if self._lost_to:
            raise StudyError(
                f"study.name={self._name} was taken over by {self._lost_to}: this process had "
                f"not reached study.storage for {EXPIRES_S:g} s. Its finished trials are "
                "safe; those that were running go on, or run again, there."
            )
        if surely and _uptime() - self._beat_at > EXPIRES_S:
            raise StudyError(
                f"study.name={self._name} may be another driver's by now: study.storage could not "
                f"be reached for {EXPIRES_S:g} s. Once it can, the same command goes on where "
                "this one left off, and follows the jobs that still run."
            )

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S) and not self._lost_to:
            with suppress(*STORAGE_FAULTS):  # the next beat tells
                self._renew()

    def _renew(self) -> None:
        mine = _parse(self._held)
        assert mine is not None
        began = _uptime()
        renewed = json.dumps(asdict(replace(mine, seen=self._attribute.now())))
        if self._attribute.swap(self._held, renewed):
            self._held, self._beat_at = renewed, began
            return
        stored = self._attribute.read()
        holder = _parse(stored)
        if stored is not None and holder is not None and holder.id == mine.id:
            self._held = stored  # the answer to the last beat was lost
        else:
            self._lost_to = holder.who if holder else "another driver"

    def _refusal(self, holder: Driver, now: float) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder.since))
        died = ""
        if not holder.is_here:  # else it is known that it lives
            left = f"{EXPIRES_S:g} s after its last sign of life"
            died = f" If it has died, the same command takes over {left}."
        return (
            f"study.name={self._name} is being run by {holder.who}, since {since} (last sign of "
            f"life {max(0.0, now - holder.seen):.0f} s ago). Wait for it, stop it, or give "
            f"another study.name.{died} To work along: study.join=true."
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


def _uptime() -> float:
    """Seconds that this machine has been up, asleep or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
