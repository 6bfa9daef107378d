"""An executor that answers from a table, so that a whole study takes no time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sweeper.executors import Watcher
from sweeper.memory.budget import judge
from sweeper.trial.json_file import write_record
from sweeper.trial.record import EpochReport, MemoryReading, Outcome, TrialResult, TrialSpec


def epochs_of(curve: list[float]) -> tuple[EpochReport, ...]:
    return tuple(
        EpochReport(i, 1000.0 + i, m, m / 2, 1.0, 1.0, 1.0, 0.01) for i, m in enumerate(curve, 1)
    )


def trained(peak_gib: float, curve: list[float]) -> TrialResult:
    epochs = epochs_of(curve)
    best = max(epochs, key=lambda e: e.map50)
    return TrialResult(
        Outcome.COMPLETE,
        epochs=epochs,
        map50=best.map50,
        map50_95=best.map50_95,
        best_epoch=best.epoch,
        wall_time_s=1.0,
        memory=MemoryReading(peak_gib, "measured", "process"),
    )


class TableExecutor:
    """Runs a function of the spec in place of a child process.

    Attributes:
        ran: The specs that were run, in order.
    """

    def __init__(self, outcome: Callable[[TrialSpec], TrialResult], slots: int = 1) -> None:
        self.slots, self._outcome = slots, outcome
        self.ran: list[TrialSpec] = []
        self._pool = ThreadPoolExecutor(slots)

    def submit(self, spec: TrialSpec, folder: Path, watcher: Watcher) -> Future[TrialResult]:
        self.ran.append(spec)
        return self._pool.submit(self._run, spec, folder, watcher)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, spec: TrialSpec, folder: Path, watcher: Watcher) -> TrialResult:
        result = judge(self._outcome(spec), spec.limit_gib)
        for i, report in enumerate(result.epochs, 1):
            if watcher.on_epoch(report):
                seen = result.epochs[:i]
                best = max(seen, key=lambda e: e.map50)
                result = replace(result, outcome=Outcome.PRUNED, epochs=seen, map50=best.map50)
                break
        write_record(folder / "result.json", result)
        return result
