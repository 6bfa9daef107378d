"""Trials as child processes of this machine, forked from a server that has torch imported."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from queue import SimpleQueue

from sweeper.executors import Watcher
from sweeper.memory.budget import judge, refuse, watchdog_limit_gib
from sweeper.memory.measure.meter import add_sampled
from sweeper.memory.measure.sampler import MemorySampler, SampledPeak
from sweeper.trial.json_file import from_json, write_record
from sweeper.trial.record import EpochReport, Outcome, TrialResult, TrialSpec, summarise_epochs

POLL_S = 0.2
EXIT_GRACE_S = 30
SHUTDOWN = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # to everything of a session at once


def warm_up() -> None:
    """Start the fork server, which imports torch while the caller goes on."""
    # torch then counts GPUs through NVML, and the fork server stays free of CUDA state.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("MPLBACKEND", "Agg")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["sweeper.executors.preload"])
    with _hidden_gpus():
        forkserver.ensure_running()


class LocalExecutor:
    """One child process per trial, one trial at a time on each device.

    Attributes:
        slots: How many trials run at once.
    """

    def __init__(self, devices: Sequence[str] = ("cpu",)) -> None:
        """Start the fork server if it does not run yet.

        Args:
            devices: One entry per slot: ``cpu``, or a GPU's UUID.
        """
        self.slots = len(devices)
        self._free: SimpleQueue[str] = SimpleQueue()
        for device in devices:
            self._free.put(device)
        warm_up()
        self._context = multiprocessing.get_context("forkserver")
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="trial")
        self._closing = threading.Event()

    def submit(self, spec: TrialSpec, folder: Path, watcher: Watcher) -> Future[TrialResult]:
        """Run ``spec`` in a child as soon as a slot is free."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        return self._pool.submit(self._run, spec, folder, watcher)

    def close(self) -> None:
        """Kill running children, whose futures then give ``interrupted``, and wait for them."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, spec: TrialSpec, folder: Path, watcher: Watcher) -> TrialResult:
        device = self._free.get()
        try:
            spec = replace(spec, device=device)
            write_record(folder / "spec.json", spec)
            result = refuse(spec) or judge(self._train(spec, folder, watcher), spec.limit_gib)
        finally:
            self._free.put(device)
        write_record(folder / "result.json", result)
        return result

    def _train(self, spec: TrialSpec, folder: Path, watcher: Watcher) -> TrialResult:
        started = time.monotonic()
        ours, theirs = self._context.Pipe()
        child = self._context.Process(target=_child, args=(str(folder), theirs))
        reports: list[EpochReport] = []
        sampler = _sampler(spec, child)  # before the child uses the device
        try:
            child.start()
        except (EOFError, OSError) as error:
            cause = f"{type(error).__name__}: {error}".rstrip(": ")
            return TrialResult(Outcome.CRASHED, f"no process could be started ({cause}).")
        theirs.close()
        if sampler is not None:
            assert child.pid is not None
            sampler.start(child.pid)
        try:
            with ours:
                fault = self._follow(child, ours, spec, reports, watcher)
            child.join(EXIT_GRACE_S)
        finally:
            if child.exitcode is None:
                _kill_group(child)
            child.join()
            sampled = sampler.stop() if sampler is not None else None
            _end_workers(child)
        result = _read_result(folder) or fault or _died(child.exitcode)
        if not result.epochs:
            result = replace(result, **summarise_epochs(tuple(reports)))
        if sampled is not None:
            result = _with_sampled(result, sampled, spec)
        return replace(result, wall_time_s=time.monotonic() - started)

    def _follow(
        self,
        child: ForkServerProcess,
        ours: Connection,
        spec: TrialSpec,
        reports: list[EpochReport],
        watcher: Watcher,
    ) -> TrialResult | None:
        """Listen until the child hangs up; the fault if it had to be killed."""
        started = heard = time.monotonic()
        while True:
            fault = self._fault(spec, time.monotonic() - started, time.monotonic() - heard)
            if fault is not None:
                _kill_group(child)
                return fault
            try:
                if wait([ours, child.sentinel], timeout=POLL_S) == [child.sentinel]:
                    return None
                if ours.poll():
                    heard = time.monotonic()
                    _dispatch(ours, reports, watcher)
            except (EOFError, ConnectionError):
                return None

    def _fault(self, spec: TrialSpec, age_s: float, silence_s: float) -> TrialResult | None:
        """Why the child must be ended now, if it must."""
        if self._closing.is_set():
            return TrialResult(Outcome.INTERRUPTED, "the study was stopped")
        if 0 < spec.timeout_s < age_s:
            reason = f"still training after study.trial_timeout_s={spec.timeout_s:g}."
            return TrialResult(Outcome.TIMEOUT, f"{reason} Raise it or lower train.epochs.")
        if 0 < spec.stall_timeout_s < silence_s:
            reason = f"no sign of life for study.stall_timeout_s={spec.stall_timeout_s:g}."
            return TrialResult(Outcome.TIMEOUT, f"{reason} See log.txt for where it hung.")
        return None


@contextmanager
def _hidden_gpus() -> Iterator[None]:
    """Hide every GPU while the fork server starts; each child is shown its own by UUID.

    Without NVML, or with a MIG UUID, torch counts devices through cuInit, and a process forked
    after cuInit cannot use CUDA.
    """
    key = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(key)
    os.environ[key] = ""
    try:
        yield
    finally:
        os.environ.pop(key)
        if before is not None:
            os.environ[key] = before


def _dispatch(ours: Connection, reports: list[EpochReport], watcher: Watcher) -> None:
    """Hand one message of the child to the watcher, and its wish to stop back."""
    message = json.loads(ours.recv_bytes())
    if "epoch" in message:
        reports.append(EpochReport(**message["epoch"]))
        if watcher.on_epoch(reports[-1]):
            ours.send_bytes(b"stop")
    else:
        watcher.on_progress(message["done"], message["total"])


def _sampler(spec: TrialSpec, child: ForkServerProcess) -> MemorySampler | None:
    """Follows the child on its GPU and stops it when it passes the budget; None on the CPU."""
    if spec.device == "cpu":
        return None
    limit = None if spec.limit_gib is None else watchdog_limit_gib(spec.limit_gib)
    return MemorySampler(spec.device, limit, lambda gib: _kill_group(child))


def _with_sampled(result: TrialResult, sampled: SampledPeak, spec: TrialSpec) -> TrialResult:
    """Join what NVML saw; a trial that the watchdog stopped is over budget, not crashed."""
    result = replace(result, memory=add_sampled(result.memory, sampled))
    if sampled.exceeded and result.outcome is Outcome.CRASHED:
        reason = (
            f"stopped while running: NVML saw {sampled.peak_gib:.2f} GiB, "
            f"the budget is {spec.limit_gib:.2f} GiB"
        )
        result = replace(result, outcome=Outcome.OVER_BUDGET, reason=reason)
    return result


def _child(folder: str, connection: Connection) -> None:
    from sweeper.training.run import child_main

    child_main(folder, connection)


def _read_result(folder: Path) -> TrialResult | None:
    try:
        return from_json(TrialResult, (folder / "result.json").read_text())
    except FileNotFoundError:
        return None


def _died(exitcode: int | None) -> TrialResult:
    """The result of a child that ended without writing one."""
    if exitcode == -signal.SIGKILL:
        reason = (
            "the process was killed by SIGKILL, as the kernel's out-of-memory killer does "
            "(see dmesg). Lower batch or executor.slots if host memory is short."
        )
    elif exitcode is not None and -exitcode in SHUTDOWN:
        return TrialResult(Outcome.INTERRUPTED, f"ended by {signal.Signals(-exitcode).name}")
    elif exitcode is not None and exitcode < 0:
        reason = f"the process was killed by {signal.Signals(-exitcode).name}. See log.txt."
    else:
        reason = f"the process ended with exit code {exitcode} and no result. See log.txt."
    return TrialResult(Outcome.CRASHED, reason)


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
