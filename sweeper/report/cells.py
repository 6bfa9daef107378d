"""The cells of a study: each with its trials, more than one where seeds were repeated."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sweeper.config.settings import of_the_trial
from sweeper.trial.levers import LEVERS, in_words, pulled
from sweeper.trial.readings import SIMULATED
from sweeper.trial.record import Outcome
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import RecordedTrial
from sweeper.waiting import BUSY_SHARE

# What a label says by itself, and the seed: another seed is the same cell.
IN_THE_LABEL = {"batch", "accumulate", "amp", "memory", "seed", *(f"memory.{n}" for n in LEVERS)}

Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class CellSummary:
    """One cell, summarised over its trials.

    Attributes:
        name: How people call it: ``b4×a4 amp``, and what else differs within the study.
        setting: All that it shares with cells of another batch, accumulate and amp; of the levers
            that are pulled, name and value.
        trials: Its trials in order, repetitions with other seeds included.
    """

    name: str
    setting: Key
    trials: tuple[RecordedTrial, ...]

    @cached_property
    def first(self) -> RecordedTrial:
        """The trial that stands for the cell.

        One that does not fit before one that completed, else the last that says something.
        """
        ended = [t for t in self.trials if not (t.outcome and t.outcome.runs_again)]
        deciding = [*(t for t in self.trials if t.infeasible), *self.complete]
        return next(iter(deciding), (ended or self.trials)[-1])

    @cached_property
    def repeated(self) -> list[RecordedTrial]:
        """The trials that said nothing about the cell and have run again, with the same seed."""
        last = {t.spec.seed: t for t in self.trials}
        return [
            t
            for t in self.trials
            if t is not last[t.spec.seed] and t.outcome is not None and t.outcome.runs_again
        ]

    @cached_property
    def spec(self) -> TrialSpec:
        """That of `first`."""
        return self.first.spec

    @cached_property
    def complete(self) -> list[RecordedTrial]:
        """The trials that ran to their end, or to the last rung, and have their mAP."""
        return [t for t in self.trials if t.outcome is Outcome.COMPLETE and t.map50 is not None]

    @cached_property
    def confirmed(self) -> bool:
        """Whether fresh seeds have repeated it."""
        return any(t.spec.confirms is not None for t in self.complete)

    @cached_property
    def compared(self) -> list[RecordedTrial]:
        """The trials by which it is compared with other cells.

        Once fresh seeds have repeated it, theirs alone: the run that was chosen for being good
        flatters it. Of a cell that was stopped at a rung, the trial that was.
        """
        if self.infeasible:
            return []
        fresh = [t for t in self.complete if t.spec.confirms is not None]
        return fresh or self.complete or [t for t in self.trials if t.stands]

    @cached_property
    def paused(self) -> bool:
        """Whether it was trained for a part of its run only."""
        return any(t.paused for t in self.compared)

    @cached_property
    def finished(self) -> RecordedTrial | None:
        """The trial that `study.finish` has continued to the end of its run."""
        return next((t for t in self.complete if t.finished), None)

    @property
    def can_go_on(self) -> bool:
        """Whether `study.finish` would continue it to the end of its run."""
        return self.first.paused and self.finished is None

    @cached_property
    def trained(self) -> str:
        """How far the trials by which it is compared were trained, else `first`."""
        return (self.compared or [self.first])[0].trained

    @cached_property
    def state(self) -> str:
        """That of `first`: its outcome, or ``running``."""
        return self.first.state

    @cached_property
    def fits(self) -> bool:
        """Whether it completed within the budget, and with no seed failed to."""
        return bool(self.complete) and not self.infeasible

    @cached_property
    def infeasible(self) -> bool:
        """Whether it is known not to fit the budget."""
        return self.first.infeasible

    @cached_property
    def title(self) -> str:
        """The cell's name, under the strategy's name where it has one.

        With the levers that were named beside the strategy.
        """
        spec, keys = self.spec, {o.partition("=")[0] for o in self.spec.overrides}
        beside = {k: v for k, v in pulled(spec).items() if f"memory.{k}" in keys}
        named = "" if spec.strategy == spec.label else in_words(beside)
        return self.name.replace(spec.label, f"{spec.strategy} {named}".strip(), 1)

    @cached_property
    def map50(self) -> float | None:
        """Mean mAP@0.5 of `compared`, as far as they were trained."""
        values = [t.map50 for t in self.compared if t.map50 is not None]
        return statistics.fmean(values) if values else None

    @cached_property
    def map50_95(self) -> float | None:
        """The same of mAP@0.5:0.95."""
        values = [t.result.map50_95 for t in self.compared if t.result]
        known = [v for v in values if v is not None]
        return statistics.fmean(known) if known else None

    @cached_property
    def map50_deviation(self) -> float | None:
        """Sample standard deviation of the same; None with one."""
        values = [t.map50 for t in self.compared if t.map50 is not None]
        return statistics.stdev(values) if len(values) > 1 else None

    @cached_property
    def whole_s(self) -> float | None:
        """Time of the whole run, taken or predicted: mean of `compared`."""
        values = [t.whole_s for t in self.compared if t.whole_s is not None]
        return statistics.fmean(values) if values else None

    @cached_property
    def images_per_s(self) -> float | None:
        """Images per second of training: median of `compared`."""
        rates = (t.result.images_per_s for t in self.compared if t.result)
        values = [rate for rate in rates if rate is not None]
        return statistics.median(values) if values else None

    @cached_property
    def waited(self) -> float:
        """Share of its time that it was kept waiting for a core, where the machine was busy."""
        shares = (t.result.cpu_wait or 0.0 for t in self.complete if t.result)
        longest = max(shares, default=0.0)
        return longest if longest >= BUSY_SHARE else 0.0

    @cached_property
    def peak_gib(self) -> float | None:
        """Highest peak of the complete trials, else what is known of `first`."""
        values = [t.peak_gib for t in self.complete if t.peak_gib is not None]
        return max(values) if values and self.fits else self.first.peak_gib

    @cached_property
    def headroom_gib(self) -> float | None:
        """What the budget leaves free; None where it does not fit, or is not known to."""
        known = self.peak_gib is not None and bool(self.compared)
        return self.spec.limit_gib - (self.peak_gib or 0.0) if known else None

    @cached_property
    def need_gib(self) -> float | None:
        """The peak where it is what the cell needs: a run that was stopped measured less."""
        result = self.first.result
        # What the watchdog ends does not come to reporting its throughput.
        reported = result is not None and result.images_per_s is not None
        ran = bool(self.compared) or (self.first.outcome is Outcome.OVER_BUDGET and reported)
        whole = ran or self.first.vram_source == SIMULATED
        return self.peak_gib if whole else None


def cells_of(trials: Sequence[RecordedTrial]) -> tuple[CellSummary, ...]:
    """The cells of a study's trials, in the order of their first ones.

    Trials are of one cell when their parameters and overrides differ in the seed at most, or
    when one confirms the other.
    """
    overrides = {t.number: _own_overrides(t.spec) for t in trials}
    keys: dict[int, tuple[Key, Key]] = {}
    groups: dict[tuple[Key, Key], list[RecordedTrial]] = defaultdict(list)
    for trial in trials:
        spec = trial.spec
        setting = _setting(spec, overrides[trial.number])
        own = (setting, (spec.strategy, spec.batch, spec.accumulate, spec.amp))
        keys[trial.number] = keys.get(-1 if spec.confirms is None else spec.confirms, own)
        groups[keys[trial.number]].append(trial)
    common = _common(overrides.values())
    return tuple(
        CellSummary(_name(own[0].spec, overrides[own[0].number], common), setting, tuple(own))
        for (setting, _), own in groups.items()
    )


def _own_overrides(spec: TrialSpec) -> tuple[str, ...]:
    """The overrides that make the cell, less what the label and the seed stand for."""
    own = of_the_trial(spec.overrides)
    return tuple(o for o in own if o.partition("=")[0] not in IN_THE_LABEL)


def _setting(spec: TrialSpec, overrides: tuple[str, ...]) -> Key:
    named = (spec.model, spec.imgsz, spec.epochs, spec.optimizer, spec.limit_gib)
    return (*named, *sorted(overrides), *pulled(spec).items())


def _common(overrides: Iterable[tuple[str, ...]]) -> set[str]:
    """The overrides that all trials share: they tell no two cells apart."""
    sets = [set(o) for o in dict.fromkeys(overrides)]
    return set.intersection(*sets) if sets else set()


def _name(spec: TrialSpec, overrides: tuple[str, ...], common: set[str]) -> str:
    return " ".join([spec.label, *(o for o in overrides if o not in common)])
