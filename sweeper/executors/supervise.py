"""One trial in a child process: followed, sampled, and ended when it must be."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from sweeper.executors import Watcher
from sweeper.fork_server import start_fork_server
from sweeper.memory.budget import watchdog_limit_gib
from sweeper.memory.measure.sampler import MemorySampler
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import EndedBy, TrialFacts
from sweeper.trial.spec import TrialSpec

POLL_S = 0.2
EXIT_GRACE_S = 30


def warm_up() -> None:
    """Start the fork server, which imports torch while the caller goes on."""
    start_fork_server("sweeper.executors.preload")


class Supervisor:
    """Runs trials as children of this process, forked from a server that has torch imported."""

    def __init__(self, must_end: Callable[[], EndedBy | None]) -> None:
        """Start the fork server if it does not run yet.

        Args:
            must_end: Asked five times a second why the trials must end now, if they must.
        """
        warm_up()
        self._must_end = must_end
        self._context = multiprocessing.get_context("forkserver")

    def run(self, folder: TrialFolder, device: str, watcher: Watcher) -> TrialFacts:
        """Train the spec in a folder on ``cpu`` or a GPU's UUID, and wait for its end."""
        spec = folder.read_spec()
        started = time.monotonic()
        ours, theirs = self._context.Pipe()
        child = self._context.Process(target=_child, args=(str(folder.path), device, theirs))
        reports: list[EpochReport] = []
        sampler = _sampler(spec, device, child)  # before the child uses the device
        try:
            child.start()
        except (EOFError, OSError) as error:
            return TrialFacts(no_start=f"{type(error).__name__}: {error}".rstrip(": "))
        theirs.close()
        if sampler is not None:
            assert child.pid is not None
            sampler.start(child.pid)
        try:
            with ours:
                ended_by = self._follow(child, ours, spec, reports, watcher)
            child.join(EXIT_GRACE_S)
        finally:
            if child.exitcode is None:
                _kill_group(child)
            child.join()
            sampled = sampler.stop() if sampler is not None else None
            _end_workers(child)
        return TrialFacts(
            child=folder.read_child(),
            epochs=tuple(reports),
            sampled=sampled,
            exit_code=child.exitcode,
            ended_by=ended_by,
            wall_time_s=time.monotonic() - started,
            device=device,
        )

    def _follow(
        self,
        child: ForkServerProcess,
        ours: Connection,
        spec: TrialSpec,
        reports: list[EpochReport],
        watcher: Watcher,
    ) -> EndedBy | None:
        """Listen until the child hangs up; why it had to be killed, if it had to."""
        started = heard = time.monotonic()
        while True:
            now = time.monotonic()
            ended_by = self._end_now(spec, age_s=now - started, silence_s=now - heard)
            if ended_by is not None:
                _kill_group(child)
                return ended_by
            try:
                if wait([ours, child.sentinel], timeout=POLL_S) == [child.sentinel]:
                    return None
                if ours.poll():
                    heard = time.monotonic()
                    _dispatch(ours, reports, watcher)
            except (EOFError, ConnectionError):
                return None

    def _end_now(self, spec: TrialSpec, age_s: float, silence_s: float) -> EndedBy | None:
        """Why the child must be ended now, if it must."""
        if (asked := self._must_end()) is not None:
            return asked
        if 0 < spec.timeout_s < age_s:
            return EndedBy.TIMEOUT
        if 0 < spec.stall_timeout_s < silence_s:
            return EndedBy.STALL
        return None


def _dispatch(ours: Connection, reports: list[EpochReport], watcher: Watcher) -> None:
    """Hand one message of the child to the watcher, and its wish to stop back."""
    message = json.loads(ours.recv_bytes())
    if "epoch" in message:
        reports.append(EpochReport(**message["epoch"]))
        if watcher.on_epoch(reports[-1]):
            ours.send_bytes(b"stop")
    else:
        watcher.on_progress(message["done"], message["total"])


def _sampler(spec: TrialSpec, device: str, child: ForkServerProcess) -> MemorySampler | None:
    """Follows the child on its GPU and stops it when it passes the limit; None on the CPU."""
    if device == "cpu":
        return None
    limit_gib = watchdog_limit_gib(spec.limit_gib)
    return MemorySampler(device, limit_gib, lambda gib: _kill_group(child))


def _child(folder: str, device: str, connection: Connection) -> None:
    from sweeper.training.run import child_main

    child_main(folder, device, connection)


def _kill_group(child: ForkServerProcess) -> None:
    """SIGKILL the child and its data-loader workers."""
    assert child.pid is not None
    for kill in (os.killpg, os.kill):  # no group yet if the child has not reached setsid()
        try:
            kill(child.pid, signal.SIGKILL)
            return
        except ProcessLookupError:
            continue


def _end_workers(child: ForkServerProcess) -> None:
    """SIGKILL what a child that died left of its group: it would hold on to the GPU's memory."""
    assert child.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
