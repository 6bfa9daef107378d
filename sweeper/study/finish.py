"""The recommended trial once more, from its last rung to the end of its run."""

from __future__ import annotations

from dataclasses import replace

from sweeper.report.cells import CellSummary
from sweeper.study.display import StudyDisplay
from sweeper.study.trials import Trials

NOTHING_TO_FINISH = "nothing is finished: no cell can be recommended so far"


def finish(winner: CellSummary | None, trials: Trials, display: StudyDisplay) -> bool:
    """Continue the winner's trial, its weights kept; False when it may go on later.

    Nothing is to do without a winner, which is said, or where its run has come to its end.
    """
    if winner is None:
        display.note(NOTHING_TO_FINISH)
    if winner is None or not winner.can_go_on:
        return True
    spec, result = winner.first.spec, winner.first.result
    assert result is not None, "what is paused has come to something"
    display.note(f"finishing {spec.label}: {spec.epochs - result.trained} more epochs")
    display.again(spec)
    ended = trials.run_one(replace(spec.going_on(result, until=None), keep_weights=True))
    recorded = trials.folder(spec.number).read_result()
    if recorded is not None and recorded.paused:
        display.note(f"trial {spec.number} stays as it was: {ended.reason}")
        return False
    return True
