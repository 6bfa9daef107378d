"""An Optuna sampler that proposes open cells only."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeper.study.space import Value

Params = dict[str, Value]


class OpenCellSampler(BaseSampler):
    """Takes the cell that the study demands, else one at random or as TPE would choose.

    Attributes:
        demanded: The next cell, if the study knows it; taken once.
    """

    TRIES = 24  # proposals of TPE before a random open cell is taken instead

    def __init__(
        self,
        name: str,
        seed: int,
        space: dict[str, BaseDistribution],
        open_params: Callable[[], Sequence[Params]],
    ) -> None:
        """``open_params`` lists the cells still open."""
        self.demanded: Params | None = None
        self._space, self._open_params = space, open_params
        self._random = random.Random(seed)
        self._tpe = TPESampler(seed=seed, multivariate=True) if name == "tpe" else None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Every dimension: a cell is chosen as a whole."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the next cell."""
        if self.demanded is not None:
            demanded, self.demanded = self.demanded, None
            return demanded
        candidates = self._open_params()
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
        """Never called: every parameter comes from a cell."""
        raise AssertionError(f"{param_name} is not part of the space")
