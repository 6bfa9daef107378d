"""The one place that asks and tells Optuna: a study over cells, resumable."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.errors import StudyError
from sweeper.study.identity import changes, new_id
from sweeper.study.judge import LEAST_EXCESS_GIB
from sweeper.study.open_cells import OpenCells, Params
from sweeper.study.outcomes import CONSTRAINT, counts, keep, outcome_of
from sweeper.study.space import Cell, Space
from sweeper.study.storage import SERVER_PATIENCE_S, is_server, open_storage, patiently
from sweeper.trial.record import Outcome, TrialResult

IDENTITY = "identity"
ID, OLDER = "id", "older"
DRIVER = "driver"  # of a trial: who runs it
METRIC = "map50"


@dataclass(frozen=True, slots=True)
class Best:
    """The best feasible trial so far."""

    number: int
    map50: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial that has not ended, to be told: Optuna's own handle reads the database each time.

    Attributes:
        id: What the storage knows it by.
        number: Counts the trials of the study from 0.
        params: Of its cell.
    """

    id: int
    number: int
    params: Params


class CellStudy:
    """An Optuna study whose trials are cells of one space.

    Attributes:
        name: Study name.
        id: Tells it from studies of the same name elsewhere.
        older: Whether it was started before studies had ids: MLflow knows it by its name.
        finished: Trials that ran and count; implied and covered ones did not run, and those of an
            earlier start that run again do not count.
        shared: Whether others have made trials of it meanwhile, or run some.
        decided: Numbers of the trials that had ended when it was opened, and do not run again.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        storage: str,
        sampler: str,
        seed: int,
        limit_gib: float,
        identity: dict[str, Any],
        driver: str = "",
        others: Callable[[], set[str]] = set,
    ) -> None:
        """Create the study or load the stored one.

        Args:
            name: Study name.
            space: The cells.
            storage: Optuna storage URL.
            sampler: ``auto`` (the loop says which cell), ``tpe`` or ``random``.
            seed: Seed of the sampler.
            limit_gib: Limit on peak device memory, GiB.
            identity: What must be the same for a stored study to be resumed.
            driver: Who runs the trials that are asked for here.
            others: Who else runs trials of it now.

        Raises:
            StudyError: The stored study is another one.
        """
        self.name, self._limit_gib = name, limit_gib
        self._patience_s = SERVER_PATIENCE_S if is_server(storage) else 0.0
        self._distributions: dict[str, BaseDistribution] = {
            k: CategoricalDistribution(v) for k, v in space.dimensions.items()
        }
        self._cells = {_key(dict(c.params)): c for c in space.cells}
        self._sampler = OpenCells(sampler, seed, self._distributions, self._open_params)
        self._driver, self._others = driver, others
        self._study = optuna.create_study(
            study_name=name,
            storage=open_storage(storage),
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(),  # is never asked
        )
        self._storage = self._study._storage
        self._require_identity(identity)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names([METRIC])
        self.id: str = self._study.user_attrs[ID]
        self.older: bool = self._study.user_attrs.get(OLDER, False)
        stored = self._study.trials
        ended = [(t, outcome) for t in stored if (outcome := outcome_of(t))]
        self._ended = {(_key(t.params), outcome) for t, outcome in ended}
        decided = [(t, outcome) for t, outcome in ended if not outcome.runs_again]
        self._taken = {_key(t.params) for t, _ in decided}
        self._seen = {t.number for t, _ in ended}  # the outcome is known
        self.shared = bool(others())
        self._next = len(stored)  # the number of the next trial, if nobody else makes one
        self._asked: set[int] = set()
        self._own: set[str] = set()  # cells that were asked for here
        self._reopened: set[int] = set()
        self.decided = [t.number for t, _ in decided]
        self.finished = sum(outcome.ran for _, outcome in decided)

    def is_open(self, cell: Cell) -> bool:
        """Whether the cell has neither a finished nor a running trial."""
        return _key(dict(cell.params)) not in self._taken

    def ended_before(self, params: Params, outcome: Outcome) -> bool:
        """Whether a trial of the cell with these parameters ended so in an earlier start."""
        return (_key(params), outcome) in self._ended

    @property
    def open_cells(self) -> list[Cell]:
        """Cells without a finished or running trial, in the order of the space."""
        return [c for k, c in self._cells.items() if k not in self._taken]

    def ask(self, cell: Cell | None = None) -> tuple[Asked, Cell] | None:
        """A new trial for ``cell``, or for the open cell that the sampler chooses.

        None where another driver was quicker: of several trials of one cell the first is the one
        that counts. A trial is made whole in one transaction, and whoever makes one sees all that
        were made before.
        """
        params = dict(cell.params) if cell else self._sampler.choose(self._afresh())
        wanted = create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=self._distributions,
            user_attrs={DRIVER: self._driver},
        )
        storage, study_id = self._storage, self._study._study_id
        made = patiently(lambda: storage.create_new_trial(study_id, wanted), self._patience_s)
        trial = Asked(made, self._number_of(made), params)
        self._taken.add(_key(params))
        self._asked.add(trial.number)
        self.shared = self.shared or trial.number != self._next
        self._next = trial.number + 1
        if self.shared and not self._is_first(trial.number, _key(params)):
            self._record(trial, TrialResult(Outcome.INTERRUPTED, "another driver was quicker"))
            return None
        self._own.add(_key(params))
        return trial, self._cells[_key(params)]

    def _number_of(self, made: int) -> int:
        """The number of a trial just made; it is not read where nobody else has made one."""
        ours = self._storage.get_trial_id_from_study_id_trial_number
        if ours(self._study._study_id, self._next) == made:
            return self._next
        return self._storage.get_trial_number_from_id(made)

    def _is_first(self, number: int, key: str) -> bool:
        """Whether no trial before it counts for its cell; those whose making was lost end here."""
        self._end_lost()
        before = self._stored()[:number]
        return not any(counts(t) for t in before if _key(t.params) == key)

    def _stored(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials as they are now, of all states or of some."""
        wanted = states or None
        return patiently(
            lambda: self._study.get_trials(deepcopy=False, states=wanted), self._patience_s
        )

    def tell(self, trial: Asked, result: TrialResult) -> None:
        """Record how a trial ended, and its curve.

        A cell that runs again is open at once if its trial is of an earlier start, else at the
        next one.
        """
        patiently(lambda: self._record(trial, result), self._patience_s)
        if result.outcome.runs_again and trial.number not in self._asked:
            self._taken.discard(_key(trial.params))
        elif result.outcome.ran:
            self.finished += 1

    def _record(self, trial: Asked, result: TrialResult) -> None:
        try:
            keep(self._storage, trial.id, result)
        except UpdateFinishedTrialError:
            stored = self._study.trials[trial.number]
            if outcome_of(stored) is not result.outcome:  # else the answer to a try was lost
                raise

    def _end_lost(self) -> None:
        """End the trials that the database made for us, but whose making it could not answer."""
        running = self._stored(TrialState.RUNNING)
        mine = (t for t in running if t.user_attrs.get(DRIVER) == self._driver)
        for lost in (t for t in mine if t.number not in self._asked | self._reopened):
            trial = Asked(lost._trial_id, lost.number, lost.params)
            self._record(trial, TrialResult(Outcome.INTERRUPTED, "the database dropped"))

    def _afresh(self) -> optuna.Study:
        """The study without what Optuna keeps of its trials between two of its own asks."""
        return optuna.Study(self.name, self._storage)

    def runs_elsewhere(self, stored: FrozenTrial) -> bool:
        """Whether another driver, which lives, runs a trial that has not ended."""
        found = stored.user_attrs.get(DRIVER) in patiently(self._others, self._patience_s)
        if found:
            self.shared = True
            self._taken.add(_key(stored.params))
        return found

    def news(self) -> list[FrozenTrial]:
        """What others have ended since last asked, and what drivers that are gone left running.

        A cell that another driver left interrupted is open again for those who have not run it.
        """
        known = self._seen | self._asked | self._reopened
        trials = self._stored()
        counting = {_key(t.params) for t in trials if counts(t)}
        unknown = [t for t in trials if t.number not in known]
        self._taken |= counting | {_key(t.params) for t in unknown}
        ended = [(t, outcome) for t in unknown if (outcome := outcome_of(t))]
        for trial, outcome in ended:
            self._seen.add(trial.number)
            self.finished += outcome.ran and not outcome.runs_again
            key = _key(trial.params)
            if outcome is Outcome.INTERRUPTED and key not in counting | self._own:
                self._taken.discard(key)
        running = (t for t in unknown if not t.state.is_finished())
        left = [t for t in running if not self.runs_elsewhere(t)]
        if left and self._driver != min(
            {*patiently(self._others, self._patience_s), self._driver}
        ):
            left = []  # one of those that live takes over
        return [*(t for t, _ in ended), *left]

    @property
    def elsewhere(self) -> int:
        """How many trials others run."""
        running = self._stored(TrialState.RUNNING)
        return sum(t.number not in self._asked | self._reopened for t in running)

    def stored_trials(self) -> list[FrozenTrial]:
        """Every trial, in the order of the numbers."""
        return self._study.trials

    def reopen(self, stale: FrozenTrial) -> Asked:
        """A handle on a stored trial that was left running, to tell it."""
        self._taken.add(_key(stale.params))
        self._reopened.add(stale.number)
        return Asked(stale._trial_id, stale.number, stale.params)

    def best(self, count: int = 1) -> list[Best]:
        """The complete trials with the highest mAP@0.5, the best first."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ranked = sorted(complete, key=lambda t: t.value or 0.0, reverse=True)
        return [Best(t.number, t.value or 0.0) for t in ranked[:count]]

    def nearest_miss(self) -> str:
        """Why there is no winner, in one sentence."""
        trials = self._study.trials
        misses = [t for t in trials if t.constraints.get(CONSTRAINT, 0.0) > LEAST_EXCESS_GIB]
        if not misses and any(t.constraints.get(CONSTRAINT, 0.0) > 0 for t in trials):
            return f"no cell fits the budget of {self._limit_gib:.2f} GiB; see the report"
        if not misses:
            return "no trial completed; the reasons are in the report and in each log.txt"
        nearest = min(misses, key=lambda t: t.constraints[CONSTRAINT])
        cell = " ".join(f"{k}={v}" for k, v in nearest.params.items())
        return (
            f"no cell fits the budget of {self._limit_gib:.2f} GiB; the nearest miss is {cell}, "
            f"{nearest.constraints[CONSTRAINT]:.2f} GiB over"
        )

    def _open_params(self) -> list[Params]:
        return [dict(c.params) for c in self.open_cells]

    def _require_identity(self, identity: dict[str, Any]) -> None:
        """Refuse to mix two spaces or settings in one study; say what differs."""
        ours = json.loads(json.dumps(identity))
        attributes = self._study.user_attrs
        stored = attributes.get(IDENTITY)
        if ID not in attributes:
            if stored is not None:
                self._study.set_user_attr(OLDER, True)
            self._study.set_user_attr(ID, new_id())
        if stored is None:
            self._study.set_user_attr(IDENTITY, ours)
        elif stored != ours:
            lines = "\n  ".join(changes(stored, ours))
            raise StudyError(
                f"study.name={self.name} was started with other settings:\n  {lines}\n"
                "Use the same ones to resume it. To start anew give another study.name, or "
                "study.resume=false, which finds a free name."
            )


def _key(params: Params) -> str:
    return json.dumps(params, sort_keys=True)
