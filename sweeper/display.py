"""What the terminal shows while trials run: one live display, or plain lines when piped."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from sweeper.trial import EpochReport, Outcome, TrialResult, TrialSpec

STYLES = {Outcome.COMPLETE: "green", Outcome.PRUNED: "yellow", Outcome.IMPLIED: "dim"}


class StudyDisplay:
    """Trial i of n, its cell and epoch, the best so far and the time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[info]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[int, TaskID] = {}
        self._specs: dict[int, TrialSpec] = {}
        self._total = self._done = 0
        self._started = time.monotonic()
        self._best: tuple[float, str] | None = None

    def __enter__(self) -> StudyDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def start(self, total: int) -> None:
        """Say how many trials there are to run."""
        self._total, self._started = total, time.monotonic()

    def note(self, text: str) -> None:
        """Print one line above the display."""
        self._console.print(text, markup=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table above the display."""
        self._console.print(table)

    def trial_started(self, spec: TrialSpec) -> None:
        """Show the trial as running."""
        self._specs[spec.number] = spec
        if self._console.is_terminal:
            self._tasks[spec.number] = self._progress.add_task(
                f"trial {spec.number} {spec.label}", total=1, info="starting"
            )

    def progress(self, number: int, done: int, total: int) -> None:
        """Move the trial's bar."""
        if number in self._tasks:
            epochs = self._specs[number].epochs
            epoch = min(epochs, done * epochs // total + 1)
            info = f"epoch {epoch}/{epochs}  {self._standing()}"
            self._progress.update(self._tasks[number], completed=done, total=total, info=info)

    def epoch(self, number: int, report: EpochReport) -> None:
        """Take a finished epoch into account for the best so far."""
        spec = self._specs[number]
        if self._best is None or report.map50 > self._best[0]:
            self._best = (report.map50, spec.label)

    def trial_finished(self, spec: TrialSpec, result: TrialResult) -> None:
        """Print the trial's line for good."""
        self._done += 1
        if spec.number in self._tasks:
            self._progress.remove_task(self._tasks.pop(spec.number))
        style = STYLES.get(result.outcome, "red")
        self._console.print(
            f"{self._done:>3}/{self._total} {spec.label:<12} {result_line(result)}",
            style=style,
            markup=False,
            soft_wrap=True,
        )

    def _standing(self) -> str:
        """Best so far and time left, as known now."""
        best = f"best {self._best[0]:.3f} ({self._best[1]})" if self._best else ""
        if not self._done:
            return best
        rate = (time.monotonic() - self._started) / self._done
        left = rate * (self._total - self._done)
        return f"{best}  about {format_seconds(left)} left"


def result_line(result: TrialResult) -> str:
    """Outcome, mAP, peak and time of a trial in one line."""
    parts = [f"{result.outcome.value:<13}"]
    if result.map50 is not None:
        parts.append(f"mAP@0.5 {result.map50:.3f}")
    if result.memory is not None:
        parts.append(f"peak {result.memory.peak_gib:.2f} GiB ({result.memory.source})")
    parts.append(format_seconds(result.wall_time_s))
    if result.reason:
        parts.append(f"- {result.reason}")
    return "  ".join(parts)


def format_seconds(seconds: float) -> str:
    """``42 s``, ``3 min 05 s`` or ``3 h 42 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
