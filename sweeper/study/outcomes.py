"""How the end of a trial is kept in Optuna's storage: written once, read back by every start."""

from __future__ import annotations

import math
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.trial.record import Outcome, TrialResult

CONSTRAINT = "vram"
DASHBOARD = "constraints"  # where optuna-dashboard 0.21 looks for them

# FAIL is what TPE ignores; an outcome that teaches it something is told as PRUNED.
_STATES = {
    Outcome.COMPLETE: TrialState.COMPLETE,
    Outcome.CRASHED: TrialState.FAIL,
    Outcome.TIMEOUT: TrialState.FAIL,
    Outcome.INTERRUPTED: TrialState.FAIL,
    Outcome.DISTURBED: TrialState.FAIL,
    Outcome.COVERED: TrialState.FAIL,
}


def keep(storage: BaseStorage, trial_id: int, result: TrialResult) -> None:
    """Write how a trial ended, and its curve.

    Args:
        storage: Optuna's.
        trial_id: What the storage knows the trial by.
        result: What came of it.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: It has ended already.
    """
    shown: dict[str, Any] = {"outcome": result.outcome.value}
    if result.reason:
        shown["reason"] = result.reason
    if result.memory is not None:
        shown["peak_gib"] = result.memory.peak_gib
    for epoch in result.epochs:
        storage.set_trial_intermediate_value(trial_id, epoch.epoch, epoch.map50)
    for key, excess in _constraints(result).items():
        storage.set_trial_system_attr(trial_id, key, excess)
    for key, shows in shown.items():
        storage.set_trial_user_attr(trial_id, key, shows)
    storage.set_trial_state_values(trial_id, *_state_and_values(result))


def _state_and_values(result: TrialResult) -> tuple[TrialState, list[float] | None]:
    state = _STATES.get(result.outcome, TrialState.PRUNED)
    value = result.map50
    if state is TrialState.PRUNED and result.epochs:
        value = result.epochs[-1].map50
    if value is None or not math.isfinite(value) or state is TrialState.FAIL:
        return state, None
    return state, [value]


def _constraints(result: TrialResult) -> dict[str, Any]:
    """By how much the cell exceeds its limit, as Optuna keeps it and as its dashboard reads it."""
    if (excess := result.excess_gib) is None:
        return {}
    kept = create_trial(state=TrialState.PRUNED, constraints={CONSTRAINT: excess})
    return {**kept.system_attrs, DASHBOARD: [excess]}


def outcome_of(trial: FrozenTrial) -> Outcome | None:
    """The recorded outcome; None while the trial has not ended."""
    value = trial.user_attrs.get("outcome")
    # The attribute is written before the state: only both make an end.
    return Outcome(value) if value is not None and trial.state.is_finished() else None


def counts(trial: FrozenTrial) -> bool:
    """Whether its cell needs no other trial."""
    outcome = outcome_of(trial)
    return not trial.state.is_finished() or (outcome is not None and not outcome.runs_again)
