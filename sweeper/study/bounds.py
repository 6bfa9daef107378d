"""What measured evidence already decides about the cells of a memory class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweeper.memory.budget import violation
from sweeper.memory.config import MemoryConfig
from sweeper.trial.record import Outcome, TrialResult, TrialSpec

# Ultralytics arguments that change how a cell learns, but not how much memory it takes.
_NOT_MEMORY = {"lr0", "lrf", "momentum", "weight_decay", "warmup_epochs", "warmup_bias_lr"}
_NOT_MEMORY |= {"patience", "save_period"}

PROOFS = {Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET}


@dataclass(frozen=True, slots=True)
class MemoryClass:
    """Specs that differ only in batch, and in accumulate beyond 1: the peak grows with the batch.

    Attributes:
        config: What the prediction depends on, batch left out.
        data_yaml: The dataset; two with as many boxes per image may differ in the fullest one.
        limit_gib: What the peak is compared with.
        context_gib: What the limit leaves to CUDA.
        arguments: Ultralytics arguments that may change the peak.
    """

    config: MemoryConfig
    data_yaml: str
    limit_gib: float
    context_gib: float
    arguments: tuple[tuple[str, str], ...]


def memory_class(spec: TrialSpec) -> MemoryClass:
    """The class of a spec."""
    arguments = sorted((k, repr(v)) for k, v in spec.train_args.items() if k not in _NOT_MEMORY)
    config = MemoryConfig.of(spec).memory_class
    return MemoryClass(config, spec.data_yaml, spec.limit_gib, spec.context_gib, tuple(arguments))


class Bounds:
    """Per memory class: the smallest batch proven not to fit, and by which trial.

    Accumulating holds gradients through a forward, so it needs at least as much as not to: what
    does not fit without does not fit with it.
    """

    def __init__(self) -> None:
        self._smallest_unfit: dict[MemoryClass, tuple[int, int]] = {}

    def learn(self, spec: TrialSpec, result: TrialResult) -> bool:
        """Take a result in; True when it proves more than was known."""
        if result.outcome not in PROOFS:
            return False
        key = memory_class(spec)
        known = self._smallest_unfit.get(key)
        if known is not None and known[0] <= spec.batch:
            return False
        self._smallest_unfit[key] = (spec.batch, spec.number)
        return True

    def implied_by(self, spec: TrialSpec) -> int | None:
        """Number of the trial that proves that ``spec`` does not fit; None if none does."""
        own = memory_class(spec)
        without = replace(own, config=replace(own.config, accumulates=False))
        for key in (own, without):
            batch, number = self._smallest_unfit.get(key, (spec.batch + 1, None))
            if spec.batch >= batch:
                return number
        return None


def proving_order(specs: Sequence[TrialSpec], measured: bool) -> list[int]:
    """Indices of the specs, those first that prove most.

    First, where memory is measured, the largest cell of each class that is predicted to fit: if
    it does, so does all below it. Then the smallest one that is predicted not to fit: if it does
    not, neither does any above it. Then the rest: what is predicted to fit from the largest batch
    down, as that one is the fastest; what is not by batch, so that a wrong prediction costs one
    failed trial per class. Of equals the one that does not accumulate comes first, as it decides
    for the others. Where memory is simulated the predictions need no such proof.
    """
    fit: dict[MemoryClass, list[int]] = {}
    unfit: dict[MemoryClass, list[int]] = {}
    for i, spec in enumerate(specs):
        if spec.predicted is not None:
            (unfit if predicted_unfit(spec) else fit).setdefault(memory_class(spec), []).append(i)
    largest = [max(members, key=lambda i: specs[i].batch) for members in fit.values()]
    smallest = [min(members, key=lambda i: specs[i].batch) for members in unfit.values()]
    proofs = [*(largest if measured else ()), *smallest]
    first = dict.fromkeys(sorted(proofs, key=lambda i: (i in smallest, specs[i].accumulate > 1)))
    rest = sorted(
        (i for i in range(len(specs)) if i not in first),
        key=lambda i: _likely_and_fast(specs[i]),
    )
    return [*first, *rest]


def _likely_and_fast(spec: TrialSpec) -> tuple[bool, int, bool]:
    """Sorts what is predicted to fit from the largest batch down, then the others by batch."""
    unfit = predicted_unfit(spec)
    return unfit, spec.batch if unfit else -spec.batch, spec.accumulate > 1


def predicted_unfit(spec: TrialSpec) -> bool:
    """Whether a spec is predicted to need more than its limit; not where nothing was predicted."""
    if spec.predicted is None:
        return False
    return violation(spec.predicted.peak_gib, spec.limit_gib) > 0
