"""Repetitions of a trial with other seeds: how they are numbered, and what people call them."""

from __future__ import annotations

from sweeper.trial.spec import TrialSpec

# Repetitions are not trials of the Optuna study; their numbers lie beyond any of its own.
_FIRST_NUMBER = 1_000_000
_SEEDS_PER_TRIAL = 1_000


def repeat_number(number: int, repeat: int) -> int:
    """The number of a trial that repeats trial ``number``; repeats count from 1."""
    return _FIRST_NUMBER + number * _SEEDS_PER_TRIAL + repeat


def trial_in_words(spec: TrialSpec, noun: str = "trial ") -> str:
    """``trial 2``, or of a repetition ``trial 2, repeat 1``."""
    if spec.confirms is None:
        return f"{noun}{spec.number}"
    return f"{noun}{spec.confirms}, repeat {spec.number - repeat_number(spec.confirms, 0)}"
