"""From a trial's records to what a rung is judged by."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.trial.record import TrialResult, TrialSpec
from sweeper.trial.rungs import Standing


def standing(spec: TrialSpec, result: TrialResult, curve: Sequence[float]) -> Standing:
    """Where a trial stands; ``curve`` is its mAP@0.5 after each epoch."""
    peak_gib = result.memory.peak_gib if result.memory else None
    return Standing(
        number=spec.number,
        label=spec.label,
        epochs=spec.epochs,
        curve=tuple(curve),
        epoch_s=result.epoch_s or result.wall_time_s / max(result.trained, 1),
        spare_gib=None if peak_gib is None else spec.limit_gib - peak_gib,
        effective_batch=spec.effective_batch,
    )
