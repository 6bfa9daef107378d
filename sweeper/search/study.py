"""The one door to Optuna: a study over cells, asked and told, resumable."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from sweeper.errors import StudyError
from sweeper.search.space import Cell, Space, Value
from sweeper.trial import Outcome, TrialResult
from sweeper.vram.budget import violation

CONSTRAINT = "vram"

# A failed allocation never shows in the peak: such a trial is over by an unknown bit.
LEAST_EXCESS_GIB = 1e-3

# FAIL is what TPE ignores; an outcome that teaches it something is told as PRUNED.
_STATES = {
    Outcome.COMPLETE: TrialState.COMPLETE,
    Outcome.CRASHED: TrialState.FAIL,
    Outcome.TIMEOUT: TrialState.FAIL,
    Outcome.INTERRUPTED: TrialState.FAIL,
}


class CellStudy:
    """An Optuna study whose trials are cells of one space.

    Attributes:
        name: Study name.
        space: The cells.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        storage: str,
        sampler: str,
        seed: int,
        budget_gib: float,
    ) -> None:
        """Create the study or load the stored one.

        Raises:
            StudyError: The stored study has another space.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name, self.space, self._budget_gib = name, space, budget_gib
        self._distributions: dict[str, BaseDistribution] = {
            k: CategoricalDistribution(v) for k, v in space.dimensions.items()
        }
        self._cells = {_key(dict(c.params)): c for c in space.cells}
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=_OpenCellSampler(sampler, seed, self._distributions, self._open_params),
        )
        self._require_same_space()
        self._taken = {
            _key(t.params) for t in self._study.trials if outcome_of(t) not in _RUN_AGAIN
        }

    @property
    def open_cells(self) -> list[Cell]:
        """Cells without a finished or running trial, in the order of the space."""
        return [c for k, c in self._cells.items() if k not in self._taken]

    @property
    def finished(self) -> int:
        """Trials that ended and will not run again."""
        return sum(outcome_of(t) not in _RUN_AGAIN for t in self._study.trials)

    def ask(self) -> tuple[Trial, Cell]:
        """A new trial for the next open cell; there must be one."""
        trial = self._study.ask(self._distributions)
        key = _key(trial.params)
        self._taken.add(key)
        return trial, self._cells[key]

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """Record how a trial ended."""
        trial.set_user_attr("outcome", result.outcome.value)
        trial.set_user_attr("reason", result.reason)
        excess_gib = _excess_gib(result, self._budget_gib)
        if excess_gib is not None:
            trial.set_constraint(CONSTRAINT, excess_gib)
        if result.outcome in _RUN_AGAIN:
            self._taken.discard(_key(trial.params))
        state = _STATES.get(result.outcome, TrialState.PRUNED)
        value = result.map50 if state is TrialState.COMPLETE else None
        self._study.tell(trial, value, state=state)

    def stale_trials(self) -> list[FrozenTrial]:
        """Trials that a study which ended hard left RUNNING."""
        return self._study.get_trials(states=(TrialState.RUNNING,))

    def reopen(self, stale: FrozenTrial) -> Trial:
        """A handle on a stored trial, to tell it."""
        return Trial(self._study, stale._trial_id)

    def best(self) -> FrozenTrial | None:
        """The complete trial with the highest mAP@0.5, if there is one."""
        complete = self._study.get_trials(states=(TrialState.COMPLETE,))
        return max(complete, key=lambda t: t.value or 0.0, default=None)

    def _open_params(self) -> list[dict[str, Value]]:
        return [dict(c.params) for c in self.open_cells]

    def _require_same_space(self) -> None:
        """Refuse to mix two spaces in one study; say what differs."""
        ours = {k: list(v) for k, v in self.space.dimensions.items()} | {
            "fixed": self.space.defining
        }
        stored = self._study.user_attrs.get("space")
        if stored is None:
            self._study.set_user_attr("space", ours)
        elif stored != json.loads(json.dumps(ours)):
            keys = [k for k in {**stored, **ours} if stored.get(k) != ours.get(k)]
            difference = "\n".join(
                f"  {k}: stored {stored.get(k)}, now {ours.get(k)}" for k in keys
            )
            raise StudyError(
                f"study.name={self.name} was started with another space:\n{difference}\n"
                "Use the same overrides to resume it, or another study.name."
            )


_RUN_AGAIN = {Outcome.INTERRUPTED, None}


def outcome_of(trial: FrozenTrial) -> Outcome | None:
    """The recorded outcome; None while the trial has not ended."""
    value = trial.user_attrs.get("outcome")
    return None if value is None else Outcome(value)


def _excess_gib(result: TrialResult, budget_gib: float) -> float | None:
    """The constraint value of a result: positive exactly when it does not fit; None if unknown."""
    known = None
    if result.memory is not None:
        known = violation(result.memory.peak_gib, budget_gib)
    if result.outcome.infeasible:
        return max(known or 0.0, LEAST_EXCESS_GIB)
    return known


def _key(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


class _OpenCellSampler(BaseSampler):
    """Proposes open cells only: in order (grid), at random, or as TPE would choose."""

    TRIES = 24  # proposals before a random open cell is taken instead

    def __init__(
        self,
        name: str,
        seed: int,
        space: dict[str, BaseDistribution],
        open_params: Callable[[], list[dict[str, Value]]],
    ) -> None:
        self._name, self._space, self._open_params = name, space, open_params
        self._random = random.Random(seed)
        self._tpe = TPESampler(seed=seed, multivariate=True) if name == "tpe" else None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        candidates = self._open_params()
        if self._name == "grid":
            return candidates[0]
        if self._tpe is not None:
            several = {k: d for k, d in search_space.items() if not d.single()}
            for _ in range(self.TRIES):
                proposal = self._tpe.sample_relative(study, trial, several)
                match = [c for c in candidates if proposal and proposal.items() <= c.items()]
                if match:
                    return match[0]
        return self._random.choice(candidates)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        raise AssertionError("every parameter comes from a cell")
