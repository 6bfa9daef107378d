"""What a predicted peak and its bound say about a budget."""

from __future__ import annotations

from sweeper.memory.budget import violation
from sweeper.str_enum import StrEnum
from sweeper.trial.readings import MemoryReading
from sweeper.trial.spec import TrialSpec


class Verdict(StrEnum):
    """Whether a training fits, from what is safe to what is hopeless."""

    FITS = "fits"  # the bound keeps to the budget
    TIGHT = "tight"  # the prediction does, its bound does not
    NO = "no"


def verdict(peak_gib: float, upper_gib: float, limit_gib: float) -> Verdict:
    """The verdict on a peak that is predicted and stays below a bound."""
    if violation(peak_gib, limit_gib) > 0:
        return Verdict.NO
    return Verdict.TIGHT if violation(upper_gib, limit_gib) > 0 else Verdict.FITS


def predicted_verdict(spec: TrialSpec) -> Verdict | None:
    """The verdict on a spec; None where nothing was predicted."""
    return reading_verdict(spec.predicted, spec.limit_gib) if spec.predicted else None


def reading_verdict(reading: MemoryReading, limit_gib: float) -> Verdict:
    """The verdict on a reading; one without a bound is taken at its peak."""
    bound_gib = reading.peak_upper_gib
    upper_gib = reading.peak_gib if bound_gib is None else bound_gib
    return verdict(reading.peak_gib, upper_gib, limit_gib)
