"""Whether the budget holds: one cell with all that it needs, and with less."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sweeper.gpu_check.cells import Trained
from sweeper.trial.record import Outcome
from sweeper.trial.spec import TrialSpec

ROOM_GIB = 0.05  # above the peak: enough, also for a context that is about to grow
SHORT = 0.9  # of what was alive at once: not enough, however often the cache is flushed


@dataclass(frozen=True, slots=True)
class Cap:
    """One training under a budget.

    Attributes:
        label: The cell.
        limit_gib: The budget.
        expected: The outcome that it must have.
        outcome: The one that it has.
        peak_gib: The highest reading, GiB; None where there was none.
    """

    label: str
    limit_gib: float
    expected: Outcome
    outcome: Outcome
    peak_gib: float | None

    @property
    def held(self) -> bool:
        """Whether the outcome is the expected one, with no reading above the budget."""
        return self.outcome is self.expected and (self.peak_gib or 0.0) <= self.limit_gib


def capped_specs(measured: Trained) -> list[TrialSpec]:
    """The cell with the highest peak of the smallest model that trained, under two budgets."""
    fitting = [(s, r.memory) for s, r in measured if r.outcome is Outcome.COMPLETE and r.memory]
    if not fitting:
        return []
    smallest = fitting[0][0].model
    spec, memory = max(
        (pair for pair in fitting if pair[0].model == smallest), key=lambda pair: pair[1].peak_gib
    )
    context_gib = memory.context_gib or spec.context_gib
    limits = (memory.peak_gib + ROOM_GIB, context_gib + SHORT * (memory.allocated_gib or 0.0))
    capped = replace(spec, context_gib=context_gib)
    return [replace(capped, number=i, limit_gib=limit) for i, limit in enumerate(limits)]


def read_caps(trained: Trained) -> list[Cap]:
    """What came of `capped_specs`."""
    expected = (Outcome.COMPLETE, Outcome.OUT_OF_MEMORY)
    return [
        Cap(
            label=f"{spec.model} {spec.label}",
            limit_gib=spec.limit_gib,
            expected=expected[spec.number],
            outcome=result.outcome,
            peak_gib=result.memory.peak_gib if result.memory else None,
        )
        for spec, result in trained
    ]
