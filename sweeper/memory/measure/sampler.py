"""Peak device memory of a child process, sampled from its parent so that it outlives the child."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.memory.measure.device_usage import DeviceUsage
from sweeper.memory.measure.nvml import NvmlUnavailable
from sweeper.trial.readings import SampledPeak

Method = Literal["process", "device"]

# At most 20 ms between samples are asked for; the rest is room for a late wake-up.
PERIOD_S = 0.019


@dataclass(frozen=True, slots=True)
class Usage:
    """Device memory now, GiB, and whether it is the process's own or the device's growth.

    The growth of a device may be another process's: it informs, and proves nothing.
    """

    gib: float
    method: Method


class UsageReader:
    """Reads the device memory of one process tree.

    Create it before the process uses the device: the level at that moment is the zero of the
    ``device`` method. A process that NVML has shown once is never read by device again.
    """

    def __init__(self, uuid: str) -> None:
        self._device = DeviceUsage(uuid)
        self._before_gib = self._device.used_gib()
        self._shown = False
        self._members: dict[int, bool] = {}

    def read(self, pid: int) -> Usage:
        """Memory of the process and its descendants.

        Raises:
            NvmlUnavailable: NVML cannot answer.
        """
        own = self._own_gib(pid)
        self._shown = self._shown or own is not None
        if self._shown:
            return Usage(own or 0.0, "process")
        return Usage(max(0.0, self._device.used_gib() - self._before_gib), "device")

    def _own_gib(self, pid: int) -> float | None:
        try:
            listed = self._device.processes_gib()
        except NvmlUnavailable as error:
            if error.reason in {"no_permission", "not_supported"}:
                return None
            raise
        if self._members.keys() != listed.keys():
            # Only pids listed now: a pid can be given to another process later.
            known = self._members
            self._members = {
                other: known[other] if other in known else _descends(other, pid)
                for other in listed
            }
        own = [gib for other, gib in listed.items() if self._members[other]]
        return sum(own) if own else None


class MemorySampler:
    """Follows one child on its device from a thread of the parent.

    Create it before the child uses the device, ``start`` it with the child's pid, ``stop`` it
    when the child is gone. NVML errors never leave the thread: the peak so far is kept.

    Args:
        uuid: Device of the child.
        limit_gib: Use above which ``on_exceed`` is called; see ``budget.watchdog_limit_gib``.
        on_exceed: Called once, with the process's own use in GiB, from the sampler's thread.
    """

    def __init__(
        self,
        uuid: str,
        limit_gib: float | None = None,
        on_exceed: Callable[[float], None] | None = None,
    ) -> None:
        self._limit_gib = limit_gib
        self._on_exceed = on_exceed
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._peak: Usage | None = None
        self._samples = 0
        self._last = 0.0
        self._longest_gap_s = 0.0
        self._exceeded = False
        self._error = ""
        self._reader: UsageReader | None = None
        try:
            self._reader = UsageReader(uuid)
        except NvmlUnavailable as error:
            self._error = str(error)

    def start(self, pid: int) -> None:
        """Begin to sample the process and its descendants."""
        self._last = time.monotonic()
        if self._reader is None:
            return
        self._thread = threading.Thread(
            target=self._run, args=(self._reader, pid), name="vram-sampler", daemon=True
        )
        self._thread.start()

    def stop(self) -> SampledPeak:
        """End sampling and return what was seen; safe to call more than once."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join()
        return SampledPeak(
            peak_gib=self._peak.gib if self._peak else None,
            method=self._peak.method if self._peak else None,
            samples=self._samples,
            longest_gap_s=self._longest_gap_s,
            exceeded=self._exceeded,
            error=self._error,
        )

    def _run(self, reader: UsageReader, pid: int) -> None:
        due = time.monotonic()
        while not self._stopped:
            try:
                self._record(reader.read(pid))
            except NvmlUnavailable as error:
                # Keep trying: some errors pass, and a lost GPU costs only the failing call.
                self._error = self._error or str(error)
            now = time.monotonic()
            due = max(due + PERIOD_S, now)  # missed turns are not made up for
            # Not Event.wait: it costs twice as much, and stop() waits one turn at most.
            time.sleep(due - now)
        self._note_gap(time.monotonic())

    def _record(self, usage: Usage) -> None:
        self._samples += 1
        self._note_gap(time.monotonic())
        # The device's growth is a stand-in only until NVML shows the process itself.
        if self._peak is None or self._peak.method != usage.method or usage.gib > self._peak.gib:
            self._peak = usage
        if self._limit_gib is None or usage.method == "device":
            return
        if usage.gib > self._limit_gib and not self._exceeded:
            self._exceeded = True
            if self._on_exceed is not None:
                self._on_exceed(usage.gib)

    def _note_gap(self, now: float) -> None:
        self._longest_gap_s = max(self._longest_gap_s, now - self._last)
        self._last = now


def _descends(pid: int, root: int) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = _parent(pid)
    return False


def _parent(pid: int) -> int:
    """Parent of a process, from /proc; 0 where it cannot be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])  # the command name may hold spaces and ")"
