"""The table of trials at the end of a study."""

from __future__ import annotations

from collections.abc import Container, Iterable

from rich.table import Table

from sweeper.numbers import NOTHING, count, duration, gib, score
from sweeper.trial.record import TrialResult
from sweeper.trial.repeats import trial_in_words
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import WAITS

ROWS = 50


def end_table(
    ended: Iterable[tuple[TrialSpec, TrialResult]], waiting: Container[int], earlier: int
) -> Table:
    """A row for each trial, the best first.

    Args:
        ended: The trials of this start.
        waiting: Numbers of those that wait at a rung.
        earlier: How many had ended before.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for name in ("trial", "cell", "epochs", "mAP@0.5", "peak GiB", "time", "outcome"):
        table.add_column(name)
    ranked = sorted(ended, key=_by_map50)
    for spec, result in ranked[:ROWS]:
        peak = gib(result.memory.peak_gib) if result.memory else NOTHING
        seconds = duration(result.wall_time_s) if result.iterations else NOTHING
        epochs = f"{result.trained}/{spec.epochs}" if result.trained else NOTHING
        trial, reached = trial_in_words(spec, noun=""), score(result.map50)
        ending = WAITS if spec.number in waiting else result.ending
        table.add_row(trial, spec.label, epochs, reached, peak, seconds, ending)
    if unseen := earlier + max(0, len(ranked) - ROWS):
        table.caption = f"and {count(unseen, 'more trial')}, in the report named below"
        table.caption_justify = "left"
    return table


def _by_map50(finished: tuple[TrialSpec, TrialResult]) -> float:
    map50 = finished[1].map50
    return 1.0 if map50 is None else -map50  # the unknown ones last
