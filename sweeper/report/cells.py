"""The cells of a study: each with its trials, more than one where seeds were repeated."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sweeper.config.settings import of_the_trial
from sweeper.tracking import StudyRecord, TrialRecord
from sweeper.trial.record import Outcome

# What a label says by itself, and the seed, which makes no cell of its own.
IN_THE_LABEL = {"batch", "accumulate", "amp", "memory", "seed"}
NOT_A_SETTING = {"strategy", "batch", "accumulate", "effective_batch", "amp", "seed"}

INFEASIBLE = {outcome.value for outcome in Outcome if outcome.infeasible}

Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell.

    Attributes:
        name: How people call it: ``b4×a4 amp``, and what else differs within the study.
        setting: All that it shares with cells of another batch, accumulate and amp.
        trials: Its trials in order, repetitions with other seeds included.
    """

    name: str
    setting: Key
    trials: tuple[TrialRecord, ...]

    @cached_property
    def first(self) -> TrialRecord:
        """The trial that speaks for the cell.

        One that does not fit before one that completed, else the last that was not cut short.
        """
        ended = [t for t in self.trials if t.outcome != Outcome.INTERRUPTED]
        deciding = [*filter(is_infeasible, self.trials), *self.complete]
        return next(iter(deciding), (ended or self.trials)[-1])

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """The trials that ran to their end and have their mAP."""
        return [t for t in self.trials if t.outcome == Outcome.COMPLETE and t.map50 is not None]

    @cached_property
    def outcome(self) -> str:
        """That of `first`."""
        return self.first.outcome

    @cached_property
    def fits(self) -> bool:
        """Whether it completed within the budget, and with no seed failed to."""
        return bool(self.complete) and not self.infeasible

    @cached_property
    def infeasible(self) -> bool:
        """Whether it is known not to fit the budget."""
        return is_infeasible(self.first)

    @cached_property
    def title(self) -> str:
        """The cell's name, under the strategy's name where it has one."""
        return self.name.replace(self.first.label, self.first.strategy, 1)

    @cached_property
    def map50(self) -> float | None:
        """Mean mAP@0.5 over the seeds."""
        values = [t.map50 for t in self.complete if t.map50 is not None]
        return statistics.fmean(values) if values else None

    @cached_property
    def map50_deviation(self) -> float | None:
        """Sample standard deviation of mAP@0.5 over the seeds; None with one."""
        values = [t.map50 for t in self.complete if t.map50 is not None]
        return statistics.stdev(values) if len(values) > 1 else None

    @cached_property
    def wall_time_s(self) -> float | None:
        """Mean wall time of the complete trials."""
        values = [t.wall_time_s for t in self.complete if t.wall_time_s is not None]
        return statistics.fmean(values) if values else None

    @cached_property
    def peak_gib(self) -> float | None:
        """Highest peak of the complete trials, else what is known of `first`."""
        values = [t.peak_gib for t in self.complete if t.peak_gib is not None]
        return max(values) if values and self.fits else self.first.peak_gib

    @cached_property
    def need_gib(self) -> float | None:
        """The peak where it is what the cell needs: a run that was stopped measured less."""
        reported = self.first.metric("images_per_s") is not None  # what the watchdog ends does not
        ran = self.fits or (self.outcome == Outcome.OVER_BUDGET and reported)
        whole = ran or self.first.vram_source == "simulated"
        return self.peak_gib if whole else None


def is_infeasible(trial: TrialRecord) -> bool:
    """Whether the outcome says that the trial does not fit the budget."""
    return trial.outcome in INFEASIBLE


def cells_of(study: StudyRecord) -> tuple[Cell, ...]:
    """The study's cells in the order of their first trials.

    Trials are of one cell when their parameters and overrides differ in the seed at most, or
    when one is tagged to confirm the other.
    """
    overrides = {t.number: _own_overrides(t) for t in study.trials}
    keys: dict[int, tuple[Key, Key]] = {}
    groups: dict[tuple[Key, Key], list[TrialRecord]] = defaultdict(list)
    for trial in study.trials:
        setting = _setting(trial, overrides[trial.number])
        own = (setting, (trial.strategy, trial.batch, trial.accumulate, trial.amp))
        keys[trial.number] = keys.get(-1 if trial.confirms is None else trial.confirms, own)
        groups[keys[trial.number]].append(trial)
    common = _common(overrides.values())
    return tuple(
        Cell(_name(trials[0], overrides[trials[0].number], common), setting, tuple(trials))
        for (setting, _), trials in groups.items()
    )


def _own_overrides(trial: TrialRecord) -> tuple[str, ...]:
    """The overrides that make the cell, less what the label and the seed stand for."""
    own = of_the_trial(trial.overrides)
    return tuple(o for o in own if o.partition("=")[0] not in IN_THE_LABEL)


def _setting(trial: TrialRecord, overrides: tuple[str, ...]) -> Key:
    params = {k: v for k, v in trial.params.items() if k not in NOT_A_SETTING}
    return (*sorted(params.items()), *sorted(overrides))


def _common(overrides: Iterable[tuple[str, ...]]) -> set[str]:
    """The overrides that all trials share: they tell no two cells apart."""
    sets = [set(o) for o in dict.fromkeys(overrides)]
    return set.intersection(*sets) if sets else set()


def _name(trial: TrialRecord, overrides: tuple[str, ...], common: set[str]) -> str:
    return " ".join([trial.label, *(o for o in overrides if o not in common)])
