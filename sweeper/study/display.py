"""What the terminal shows while trials run: one live view, or plain lines when piped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeper.numbers import duration
from sweeper.study.end_table import end_table
from sweeper.study.grid import LEGEND, RUNNING, Grid, Mark, mark_of, paused_mark
from sweeper.study.pace import Pace
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.repeats import trial_in_words
from sweeper.trial.spec import TrialSpec

# Outcomes for which the grid says enough.
QUIET = {Outcome.COMPLETE, Outcome.PRUNED, Outcome.COVERED, *(o for o in Outcome if o.infeasible)}
SLOW_S = 10.0  # without a line, before a finished epoch is one
TOLD_S = 60.0  # what may take longer is told
LATE = 0.2  # of what is left, before it is told again


@dataclass(slots=True)
class _Running:
    """A trial under way."""

    spec: TrialSpec
    started: float
    done: int = 0
    total: int = 1


class StudyDisplay:
    """The grid as it fills, the running trials, the best so far and the time left."""

    def __init__(self, console: Console | None = None, pace: Pace | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._pace, self._noted = pace or Pace(), time.monotonic()
        self._told_end = 0.0  # when all of it should have ended, by the line that said so
        self._grid: Grid | None = None
        self._running: dict[int, _Running] = {}
        self._finished: list[tuple[TrialSpec, TrialResult]] = []
        self._waiting: dict[int, tuple[TrialSpec, TrialResult]] = {}
        self._total, self._earlier, self._label_width = 0, 0, 11
        self._best: tuple[float, str] | None = None
        self._live = Live(
            get_renderable=self._view,
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )

    def __enter__(self) -> StudyDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def start(
        self,
        left: int,
        specs: Iterable[TrialSpec] = (),
        earlier: int = 0,
        rungs: Sequence[int] = (),
    ) -> None:
        """Say how many trials there are to run, which cells there are, and how many had ended.

        With ``rungs`` no trial goes beyond the last one.
        """
        self._earlier += earlier
        self._total = self._done + left
        specs = list(specs)
        self._pace.expect(left, rungs[-1] if rungs else max((s.epochs for s in specs), default=0))
        self._grid = Grid(specs) if len(specs) > 1 else self._grid
        self._label_width = max([self._label_width, *(len(s.label) for s in specs)])

    def again(self, spec: TrialSpec) -> None:
        """Say that a trial that had ended, in this start or an earlier one, goes on."""
        others = [found for found in self._finished if found[0].number != spec.number]
        self._earlier -= len(others) == len(self._finished)
        self._finished = others
        self.start(1, [spec])

    def settled(self, spec: TrialSpec, outcome: Outcome, map50: float | None) -> None:
        """Show a trial of an earlier start."""
        if self._grid is not None:
            self._grid.set(spec, mark_of(outcome, map50))
        if outcome is Outcome.COMPLETE:
            self._consider(map50, spec)

    def note(self, text: str) -> None:
        """Print one line above the view."""
        self._noted = time.monotonic()
        say(self._console, text)

    def trial_started(self, spec: TrialSpec) -> None:
        """Show the trial as running."""
        self._running[spec.number] = _Running(spec, time.monotonic())
        self._pace.start(spec)
        if self._grid is not None:
            self._grid.set(spec, Mark(RUNNING, "bold cyan"))

    def progress(self, number: int, done: int, total: int) -> None:
        """Move the trial's bar."""
        if number in self._running:
            self._running[number].done, self._running[number].total = done, total

    def epoch(self, number: int, report: EpochReport) -> None:
        """Take a finished epoch into account; print it when nothing was for a while."""
        if number not in self._running:
            return
        spec = self._running[number].spec
        self._consider(report.map50, spec)
        self._pace.epoch(number, report)
        goes_on = report.epoch < (spec.until or spec.epochs)
        if goes_on and time.monotonic() - self._noted >= SLOW_S:
            done = f"epoch {report.epoch}/{spec.epochs}"
            self._note_going_on(spec, f"{done:<13}  mAP@0.5 {report.map50:.3f}")
            self._tell_pace()

    def trial_finished(self, spec: TrialSpec, result: TrialResult) -> None:
        """Put the trial into the grid; print it where there is no grid or a reason to read."""
        self._running.pop(spec.number, None)
        self._finished.append((spec, result))
        self._waiting.pop(spec.number, None)
        self._pace.end(spec.number)
        if self._grid is not None:
            self._grid.set(spec, mark_of(result.outcome, result.map50))
        if not self._console.is_terminal or result.outcome not in QUIET:
            done = f"{self._done:>3}/{self._total}"
            self.note(f"{done} {spec.label:<{self._label_width}} {result_line(result)}")
        self._tell_pace()

    def trial_paused(self, spec: TrialSpec, result: TrialResult) -> None:
        """Show a trial that has come to the end of its part; it may go on later."""
        self._running.pop(spec.number, None)
        self._pace.end(spec.number, paused=True)
        self._waiting[spec.number] = spec, result
        if self._grid is not None:
            self._grid.set(spec, paused_mark(result.map50))
        if not self._console.is_terminal:
            # A part that is cut short may have told of no epoch.
            reached = max(result.trained, spec.trained)
            waits = f"{reached}/{spec.epochs} epochs"
            self._note_going_on(spec, result_line(result, waits))
        self._tell_pace()

    def summary(self) -> Table:
        """The trials of this start, the best first."""
        last = self._waiting | {s.number: (s, result) for s, result in self._finished}
        return end_table(last.values(), self._waiting, self._earlier)

    @property
    def _done(self) -> int:
        """How many trials have ended, in earlier starts too."""
        return self._earlier + len(self._finished)

    def _note_going_on(self, spec: TrialSpec, text: str) -> None:
        """Print a line of a trial that has not ended."""
        done = "·".rjust(4 + len(str(self._total)))
        self.note(f"{done} {spec.label:<{self._label_width}} {text}")

    def _tell_pace(self) -> None:
        """Say how long it may take where no view shows it, and again if that was too short."""
        left = self._total - self._done
        left_s = self._pace.left_s(left)
        end = time.monotonic() + left_s
        late = end > self._told_end + LATE * left_s
        if late and left_s > TOLD_S and not self._console.is_terminal:
            self._told_end = end
            self.note(self._pace.in_words(left))

    def _consider(self, map50: float | None, spec: TrialSpec) -> None:
        if map50 is not None and (self._best is None or map50 > self._best[0]):
            self._best = (map50, spec.label)

    def _view(self) -> RenderableType:
        rows: list[RenderableType] = []
        if self._grid is not None:
            rows += [self._grid.table(), Text(LEGEND, style="dim")]
        rows += [self._bar(r) for r in list(self._running.values())]
        return Group(*rows, Text(self._standing(), style="bold"))

    def _bar(self, running: _Running) -> Table:
        spec, done, total = running.spec, running.done, running.total
        until = spec.until or spec.epochs
        epoch = min(until, done * until // max(total, 1) + 1)
        rate = done * spec.batch / max(time.monotonic() - running.started, 1e-3)
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(
            trial_in_words(spec),
            spec.label,
            ProgressBar(total=total, completed=done, width=16),
            f"epoch {epoch}/{spec.epochs}",
            f"{rate:.0f} images/s" if done else "starting",
        )
        return row

    def _standing(self) -> str:
        """Trials done, best so far and time left, as known now."""
        parts = [f"{self._done}/{self._total} trials"]
        if self._best:
            parts.append(f"best so far {self._best[0]:.3f} ({self._best[1]})")
        parts.append(self._pace.in_words(self._total - self._done))
        return "   ".join(filter(None, parts))


def say(console: Console, text: str) -> None:
    """Print text as it is: wrapped at words on a terminal, whole lines elsewhere."""
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def result_line(result: TrialResult, state: str = "") -> str:
    """Outcome, mAP, peak and time of a trial in one line; ``state`` in place of the outcome."""
    parts = [f"{state or result.ending:<13}"]
    if result.map50 is not None:
        parts.append(f"mAP@0.5 {result.map50:.3f}")
    if result.memory is not None:
        parts.append(f"peak {result.memory.peak_gib:.2f} GiB {result.memory.source}")
    if result.iterations:
        parts.append(duration(result.wall_time_s))
    if result.reason:
        parts.append(result.reason)
    return "  ".join(parts)
