"""The best cells once more with other seeds, so that a lead can be told from noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.executors import Executor
from sweeper.study.display import StudyDisplay
from sweeper.study.stop import StopRequest
from sweeper.tracking.outbox import Ledger
from sweeper.trial.json_file import from_json, write_record
from sweeper.trial.record import EpochReport, Outcome, TrialResult, TrialSpec

POLL_S = 0.2

# Confirmations are no trials of the Optuna study; their numbers lie beyond any of its own.
FIRST_NUMBER = 1_000_000
SEEDS_PER_TRIAL = 1_000


@dataclass(frozen=True, slots=True)
class _Watcher:
    spec: TrialSpec
    folder: Path
    ledger: Ledger
    display: StudyDisplay

    def on_progress(self, done: int, total: int) -> None:
        self.display.progress(self.spec.number, done, total)

    def on_epoch(self, report: EpochReport) -> bool:
        self.ledger.epoch(self.folder, report)
        return False


def confirm(
    numbers: Sequence[int],
    seeds: int,
    trials: Path,
    executor: Executor,
    ledger: Ledger,
    display: StudyDisplay,
) -> bool:
    """Run each trial of ``numbers`` again with ``seeds`` other seeds; False when stopped.

    Confirmations that have ended already are kept: the call resumes.
    """
    todo = [spec for spec in _specs(numbers, seeds, trials) if not _ended(trials, spec)]
    display.start(len(todo))
    running: dict[Future[TrialResult], TrialSpec] = {}
    with StopRequest() as stop:
        while (todo or running) and not stop.reason:
            while todo and len(running) < executor.slots:
                spec = todo.pop(0)
                running[_start(spec, trials, executor, ledger, display)] = spec
            for future in wait(running, POLL_S, FIRST_COMPLETED).done:
                spec = running.pop(future)
                result = _result(future)
                ledger.finish(spec, result, _folder(trials, spec))
                display.trial_finished(spec, result)
        if stop.reason:
            executor.close()
            for future, spec in running.items():
                ledger.finish(spec, _result(future), _folder(trials, spec))
    return not stop.reason


def _specs(numbers: Sequence[int], seeds: int, trials: Path) -> Iterator[TrialSpec]:
    for offset in range(1, seeds + 1):
        for number in numbers:
            original = from_json(TrialSpec, (trials / f"{number:04d}/spec.json").read_text())
            yield replace(
                original,
                number=FIRST_NUMBER + number * SEEDS_PER_TRIAL + offset,
                seed=original.seed + offset,
                confirms=number,
            )


def _start(
    spec: TrialSpec, trials: Path, executor: Executor, ledger: Ledger, display: StudyDisplay
) -> Future[TrialResult]:
    folder = _folder(trials, spec)
    folder.mkdir(exist_ok=True)
    write_record(folder / "spec.json", spec)
    ledger.start(spec, folder)
    display.trial_started(spec)
    return executor.submit(spec, folder, _Watcher(spec, folder, ledger, display))


def _result(future: Future[TrialResult]) -> TrialResult:
    if future.cancelled():
        return TrialResult(Outcome.INTERRUPTED, "the study was stopped")
    return future.result()


def _ended(trials: Path, spec: TrialSpec) -> bool:
    try:
        text = (_folder(trials, spec) / "result.json").read_text()
    except FileNotFoundError:
        return False
    return from_json(TrialResult, text).outcome is not Outcome.INTERRUPTED


def _folder(trials: Path, spec: TrialSpec) -> Path:
    return trials / f"{spec.number:04d}"
