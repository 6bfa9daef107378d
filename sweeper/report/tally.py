"""How many trials of a study ended how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sweeper.trial.record import Outcome
from sweeper.trial.study_record import RecordedTrial


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of trials; one that runs again and has counts once.

    ``failed`` are diverged, timed out, crashed, disturbed and those whose amp was refused;
    ``asked`` have ended and count in ``study.n_trials``: neither those that run again, nor implied
    or covered ones, which are ``decided`` by others, nor repetitions.
    """

    trials: int
    running: int
    complete: int
    infeasible: int
    pruned: int
    interrupted: int
    failed: int
    asked: int
    decided: int

    @classmethod
    def of(cls, counted: Iterable[RecordedTrial]) -> Tally:
        """Those of these trials."""
        trials = list(counted)
        running = sum(t.outcome is None for t in trials)
        complete = sum(t.outcome is Outcome.COMPLETE for t in trials)
        infeasible = sum(t.infeasible for t in trials)
        pruned = sum(t.outcome is Outcome.PRUNED for t in trials)
        covered = sum(t.outcome is Outcome.COVERED for t in trials)
        interrupted = sum(t.outcome is Outcome.INTERRUPTED for t in trials)
        other = running + complete + infeasible + pruned + covered + interrupted
        asked = sum(
            t.outcome is not None
            and not t.outcome.runs_again
            and t.implied_by is None
            and t.spec.confirms is None
            for t in trials
        )
        decided = sum(t.implied_by is not None for t in trials)
        return cls(
            trials=len(trials),
            running=running,
            complete=complete,
            infeasible=infeasible,
            pruned=pruned,
            interrupted=interrupted,
            failed=len(trials) - other,
            asked=asked,
            decided=decided,
        )
