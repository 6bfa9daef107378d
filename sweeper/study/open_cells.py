"""Chooses among the open cells, at random or as Optuna's TPE would."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import TrialState

from sweeper.study.space import Value

Params = dict[str, Value]


class OpenCells:
    """Chooses the next cell where the study does not know it."""

    TRIES = 24  # proposals of TPE before a random open cell is taken instead

    def __init__(
        self,
        name: str,
        seed: int,
        space: dict[str, BaseDistribution],
        open_params: Callable[[], Sequence[Params]],
    ) -> None:
        """``open_params`` lists the cells still open."""
        self._several = {k: d for k, d in space.items() if not d.single()}
        self._open_params = open_params
        self._random = random.Random(seed)
        self._tpe = TPESampler(seed=seed, multivariate=True) if name == "tpe" else None

    def choose(self, study: Study) -> Params:
        """The parameters of the next cell."""
        candidates = self._open_params()
        if self._tpe is not None:
            trial = optuna.trial.create_trial(state=TrialState.RUNNING)
            for _ in range(self.TRIES):
                # Its public twin writes to the trial, which is not made yet.
                proposal = self._tpe._sample_relative(study, trial, self._several)
                match = [c for c in candidates if proposal and proposal.items() <= c.items()]
                if match:
                    return match[0]
        return self._random.choice(candidates)
