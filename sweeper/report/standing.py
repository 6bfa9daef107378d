"""From recorded trials to what the rungs are judged by."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.report.cells import cells_of
from sweeper.trial.record import TrialResult, TrialSpec
from sweeper.trial.rungs import Standing
from sweeper.trial.study_record import CurveReader, RecordedTrial, recorded_curve


def standings_of(
    trials: Sequence[RecordedTrial], curve: CurveReader = recorded_curve
) -> list[Standing]:
    """Where trials stand that have trained; those that differ in the seed only share a label."""
    names = {t.number: c.name for c in cells_of(trials) for t in c.trials}
    return [
        _standing(t.spec, t.result, names[t.number], [value for _, value in curve(t, "map50")])
        for t in trials
        if t.result is not None
    ]


def _standing(spec: TrialSpec, result: TrialResult, name: str, curve: Sequence[float]) -> Standing:
    peak_gib = result.memory.peak_gib if result.memory else None
    return Standing(
        number=spec.number,
        label=name,
        epochs=spec.epochs,
        curve=tuple(curve),
        epoch_s=result.epoch_s or result.wall_time_s / max(result.trained, 1),
        spare_gib=None if peak_gib is None else spec.limit_gib - peak_gib,
        effective_batch=spec.effective_batch,
    )
