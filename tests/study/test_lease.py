"""Leases between real processes on one SQLite file."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import optuna
import pytest
from sqlalchemy import NullPool, create_engine

from sweeper.errors import StudyError
from sweeper.study import lease
from sweeper.study.attribute import Attribute
from sweeper.study.driver import Driver, _has_ended, _start_of
from sweeper.study.lease import LEASE, Lease, study_lease
from sweeper.study.storage import open_storage

SPAWN = multiprocessing.get_context("spawn")  # this process has threads


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/optuna.db"
    with study_lease("s", url):
        pass
    return url


def attribute(url: str) -> Attribute:
    return Attribute(create_engine(url, poolclass=NullPool), 1, LEASE)


def new_lease(url: str) -> Lease:
    storage = open_storage(url)
    return Lease(optuna.load_study(study_name="s", storage=storage), storage)


def change(url: str, **values: object) -> None:
    """Let the lease look otherwise than its holder wrote it."""
    stored = attribute(url)
    assert (text := stored.read()) and stored.swap(text, json.dumps(json.loads(text) | values))


def hold(url: str, answer: Connection, start: Barrier) -> None:
    """Take the lease with others, say how that ended, and wait for a word."""
    with ExitStack() as held:
        start.wait()
        try:
            held.enter_context(study_lease("s", url))
            answer.send("")
        except StudyError as error:
            answer.send(str(error))
        answer.recv()


def answers_of(url: str, count: int) -> list[str]:
    """What drivers answer that start at one moment, see `hold`."""
    pipes = [SPAWN.Pipe() for _ in range(count)]
    start = SPAWN.Barrier(count)
    drivers = [SPAWN.Process(target=hold, args=(url, theirs, start)) for _, theirs in pipes]
    for driver, (_, theirs) in zip(drivers, pipes, strict=True):
        driver.start()
        theirs.close()
    answers = [ours.recv() for ours, _ in pipes]
    for ours, _ in pipes:
        ours.send("end")
    for driver in drivers:
        driver.join()
    return answers


def test_of_drivers_that_start_at_once_one_holds_the_study(url: str) -> None:
    answers = answers_of(url, 4)
    assert len(refused := [answer for answer in answers if answer]) == 3
    assert len({answer.split(", since 20")[0] for answer in refused}) == 1, "who holds it"
    assert all("(last sign of life" in answer for answer in refused)
    with study_lease("s", url):
        pass


def test_a_driver_that_was_killed_here_is_followed_at_once(url: str) -> None:
    (ours, theirs), start = SPAWN.Pipe(), SPAWN.Barrier(1)
    driver = SPAWN.Process(target=hold, args=(url, theirs, start))
    driver.start()
    theirs.close()
    assert ours.recv() == ""
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    with study_lease("s", url) as held:
        held.require()


def test_a_driver_elsewhere_is_followed_when_its_lease_has_expired(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_lease(url)
    first.take()
    change(url, place="another machine", pid=1)
    with pytest.raises(StudyError, match=r"being run by .* If it has died, the same command"):
        new_lease(url).take()
    monkeypatch.setattr("sweeper.study.driver.EXPIRES_S", -1.0)
    second = new_lease(url)
    second.take()
    second.release()


def test_a_driver_that_was_followed_hears_of_it_and_takes_nothing_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    first, text = new_lease(url), attribute(url)
    first.take()
    first.require()
    change(url, id="another", who="ann@elsewhere, process 1")
    deadline = time.monotonic() + 20
    with pytest.raises(StudyError, match="taken over by ann@elsewhere, process 1"):
        while time.monotonic() < deadline:
            first.require()
            time.sleep(0.02)
    first.release()
    assert json.loads(text.read() or "")["id"] == "another"


def test_signs_of_life_keep_a_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    with study_lease("s", url) as held:
        change(url, seen=0.0)  # as after an answer that was lost
        deadline = time.monotonic() + 20
        while json.loads(attribute(url).read() or "")["seen"] == 0.0:
            held.require()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert attribute(url).read() == "null"


def test_a_driver_is_sure_of_its_study_while_it_reaches_the_storage(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uptime = 0.0
    monkeypatch.setattr(lease, "_uptime", lambda: uptime)
    held = new_lease(url)
    held.take()
    uptime = 100.0  # as after a suspension, in which nobody took over
    held.require(surely=True)

    def away(self: Attribute) -> float:
        raise OSError("no route to host")

    monkeypatch.setattr(Attribute, "now", away)
    uptime = 159.0
    held.require(surely=True)
    uptime = 161.0
    held.require()
    with pytest.raises(StudyError, match="may be another driver's by now"):
        held.require(surely=True)


def test_one_that_works_along_takes_over_from_a_silent_driver_for_good(url: str) -> None:
    first, second = new_lease(url), new_lease(url)
    first.take()
    second.take(join=True)
    assert second.others() == {first.driver}
    change(url, place="another machine", seen=0.0)
    assert second.others() == set()
    with pytest.raises(StudyError, match="taken over by another driver"):
        first.require(surely=True)
    second.require(surely=True)


def test_a_silent_driver_that_speaks_up_in_time_keeps_its_study(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak(self: Driver, now: float) -> bool:
        for _ in range(2):  # the first one finds what was written for it
            first._renew()
        return True

    first, second = new_lease(url), new_lease(url)
    first.take()
    second.take(join=True)
    change(url, seen=0.0)
    monkeypatch.setattr(Driver, "is_gone", speak)
    assert second.others() == {first.driver}
    first.require(surely=True)


def test_a_process_that_is_there_has_not_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    started = _start_of(child.pid)
    assert not _has_ended(child.pid, started)
    assert _has_ended(child.pid, "1"), "its number was given to another one"
    child.kill()
    assert _wait_for(lambda: _has_ended(child.pid, started)), "before anyone waits for it"
    child.wait()
    assert _has_ended(child.pid, started)


def _wait_for(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()
