"""What measured evidence already decides about the cells of a memory class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweeper.memory.config import MemoryConfig
from sweeper.memory.verdict import Verdict, predicted_verdict
from sweeper.trial.levers import places
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec

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

    First, where memory is measured, the largest cell of each class that fits by its bound: if it
    does, so does all below it. Then the smallest one that is tight, or else predicted not to fit:
    if it does not, neither does any above it. Where memory is simulated, what fits and what is
    tight need no proof. Then the rest: what fits by its bound from the largest batch down, as that
    one is the fastest; what is tight and then what is predicted not to fit by batch, so that a
    wrong prediction costs one failed trial per class. What pulls fewer levers comes before what
    pulls more, as it is faster; of equals the one that does not accumulate comes first, as it
    decides for the others.
    """
    fit: dict[MemoryClass, list[int]] = {}
    doubtful: dict[MemoryClass, list[int]] = {}
    trusted = (Verdict.FITS,) if measured else (Verdict.FITS, Verdict.TIGHT)
    for i, spec in enumerate(specs):
        if (found := predicted_verdict(spec)) is not None:
            place = fit if found in trusted else doubtful
            place.setdefault(memory_class(spec), []).append(i)
    largest = [max(members, key=lambda i: specs[i].batch) for members in fit.values()]
    smallest = [min(members, key=lambda i: specs[i].batch) for members in doubtful.values()]
    proofs = [*(largest if measured else ()), *smallest]

    def of_equals(i: int) -> tuple[bool, tuple[int, ...], bool]:
        return i in smallest, places(specs[i]), specs[i].accumulate > 1

    first = dict.fromkeys(sorted(proofs, key=of_equals))
    rest = sorted(
        (i for i in range(len(specs)) if i not in first),
        key=lambda i: _likely_and_fast(specs[i]),
    )
    return [*first, *rest]


def _likely_and_fast(spec: TrialSpec) -> tuple[int, tuple[int, ...], int, bool]:
    """Sorts what fits by its bound from the largest batch down, then what is tight, and the rest.

    The latter two from the smallest batch up.
    """
    rank = list(Verdict).index(predicted_verdict(spec) or Verdict.FITS)
    batch = spec.batch if rank else -spec.batch
    return rank, places(spec), batch, spec.accumulate > 1


def predicted_unfit(spec: TrialSpec) -> bool:
    """Whether a spec is predicted to need more than its limit; not where nothing was predicted."""
    return predicted_verdict(spec) is Verdict.NO
