"""From the cells of a study to what the rungs and the choice are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sweeper.report.cells import CellSummary
from sweeper.trial.field import Standing
from sweeper.trial.readings import CURVE_DIGITS
from sweeper.trial.record import TrialResult, best_of
from sweeper.trial.study_record import RecordedTrial
from sweeper.waiting import BUSY_SHARE


def standings_of(cells: Iterable[CellSummary], rung: int = 0) -> list[Standing]:
    """Where the trials stand by which the cells are compared; seeds of a cell share a label.

    With a ``rung`` a trial that was finished stands where it stood after so many epochs.
    """
    return list(_standings(cells, rung))


def _standings(cells: Iterable[CellSummary], rung: int) -> Iterator[Standing]:
    for cell in cells:
        for trial in cell.compared:
            if trial.result is not None:
                standing = _standing(cell.name, trial, trial.result)
                if rung and trial.finished:
                    curve = standing.curve[:rung]
                    best = _best(trial.result, rung)
                    standing = replace(standing, curve=curve, reached=None, best=best)
                yield standing


def _best(result: TrialResult, rung: int) -> float | None:
    """mAP@0.5 of the best epoch up to the rung; None where only the curve is known."""
    epochs = result.epochs[:rung]
    return best_of(epochs).map50 if len(epochs) == rung else None


def _standing(name: str, trial: RecordedTrial, result: TrialResult) -> Standing:
    spec = trial.spec
    waited = result.cpu_wait or 0.0
    busy = waited >= BUSY_SHARE
    return Standing(
        number=spec.number,
        label=name,
        epochs=spec.epochs,
        curve=result.curve or tuple(round(e.map50, CURVE_DIGITS) for e in result.epochs),
        epoch_s=(trial.whole_s or 0.0) / spec.epochs * (1 - waited * busy),
        spare_gib=None if trial.peak_gib is None else spec.limit_gib - trial.peak_gib,
        effective_batch=spec.effective_batch,
        reached=None if result.paused else trial.map50,
        best=trial.map50,
        busy=busy,
    )
