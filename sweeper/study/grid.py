"""The grid of a study's cells as text: rows are batches and levers, columns the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from sweeper.config.settings import of_the_trial
from sweeper.trial.levers import in_words, places, pulled
from sweeper.trial.record import Outcome
from sweeper.trial.spec import AMP_SUFFIX, AMPS, Amp, TrialSpec

OPEN, RUNNING = "·", "…"
LEGEND = ".xx mAP@0.5  .xx↓ pruned  OOM does not fit  (oom) implied  = covered  … running  · open"

_MARKS = {
    Outcome.OUT_OF_MEMORY: ("OOM", "red"),
    Outcome.OVER_BUDGET: ("OOM", "red"),
    Outcome.IMPLIED: ("(oom)", "dim red"),
    Outcome.COVERED: ("=", "dim"),
    Outcome.INTERRUPTED: (OPEN, "dim"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of one cell."""

    text: str = OPEN
    style: str = "dim"


def mark_of(outcome: Outcome, map50: float | None) -> Mark:
    """How a finished trial looks in the grid."""
    if outcome in _MARKS:
        return Mark(*_MARKS[outcome])
    score = _score(map50)
    if outcome is Outcome.COMPLETE:
        return Mark(score, "green")
    if outcome is Outcome.PRUNED:
        return Mark(f"{score}↓", "yellow")
    return Mark(outcome.value, "bold red")


def paused_mark(map50: float | None) -> Mark:
    """How a trial looks that waits at a rung."""
    return Mark(f"{_score(map50)}…", "cyan")


def _score(map50: float | None) -> str:
    return "?" if map50 is None else f"{map50:.2f}".removeprefix("0")


class Grid:
    """The cells of a study; cells that share batch, levers, accumulate and amp share a place."""

    def __init__(self, specs: Iterable[TrialSpec]) -> None:
        self._specs = list(specs)
        self._marks = {_key(spec): Mark() for spec in self._specs}

    def set(self, spec: TrialSpec, mark: Mark) -> None:
        """Change one cell."""
        if _key(spec) in self._marks:
            self._marks[_key(spec)] = mark

    def table(self) -> Table:
        """The grid as it is now."""
        rows = sorted({(s.batch, places(s), in_words(pulled(s))) for s in self._specs})
        found = {(s.amp, s.accumulate) for s in self._specs}
        columns = sorted(found, key=lambda c: (AMPS.index(c[0]), c[1]))
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
        table.add_column("", style="bold")
        for amp, accumulate in columns:
            table.add_column(f"a{accumulate}{AMP_SUFFIX[amp]}")
        for batch, _, levers in rows:
            marks = [self._place(batch, levers, accumulate, amp) for amp, accumulate in columns]
            table.add_row(f"b{batch} {levers}".strip(), *marks)
        return table

    def _place(self, batch: int, levers: str, accumulate: int, amp: Amp) -> Text:
        here = (batch, levers, accumulate, amp)
        marks = [
            self._marks[_key(s)]
            for s in self._specs
            if (s.batch, in_words(pulled(s)), s.accumulate, s.amp) == here
        ]
        return Text(" ").join(Text(m.text, style=m.style) for m in marks)


def _key(spec: TrialSpec) -> tuple[str, ...]:
    return of_the_trial(spec.overrides)
