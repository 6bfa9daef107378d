"""The learning curves of a study, and where and why trials stopped."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sweeper.numbers import listed
from sweeper.report.cells import CellSummary
from sweeper.report.chart import Chart, new_axes, place_legend, say_empty
from sweeper.report.colours import BLACK, GREY, LIGHT_GREY, UNFIT, Style, styles
from sweeper.report.findings import Findings
from sweeper.trial.record import Outcome
from sweeper.trial.study_record import Points, RecordedTrial

MAX_OTHERS = 40  # curves of cells without a style of their own
MAX_NAMES = 3  # of cells that ended before their first epoch
LAST_RUNG = "at the last rung"

# How the end of a curve is marked, by why it is there; a run that came to its end needs no mark.
STOPS = {
    LAST_RUNG: Style(BLACK, ">"),
    "stopped at a rung": Style(BLACK, "|"),
    "out of memory": Style(UNFIT, "X"),
    "over budget": Style(UNFIT, "P"),
    "interrupted": Style(GREY, "s"),
    "disturbed": Style(GREY, "D"),
    "diverged": Style(GREY, "v"),
    "timeout": Style(GREY, "X"),
    "crashed": Style(GREY, "P"),
}


def learning_curves(findings: Findings) -> Chart:
    """mAP@0.5 by epoch, a line per cell, with a mark where a trial stopped that says why."""
    chart = Chart()
    axes = new_axes(chart, "Learning curves", "epoch", "mAP@0.5")
    if not findings.curves:
        say_empty(axes, "no epoch has ended")
        return chart
    styled = styles(findings)
    others = [n for n in findings.curves if n not in styled][:MAX_OTHERS]
    for i, name in enumerate(others):
        label = None if i else "other cells"
        axes.plot(*zip(*findings.curves[name], strict=True), color=LIGHT_GREY, label=label)
    for name in (n for n in styled if n in findings.curves):
        _draw(axes, name, findings.curves[name], styled[name])
    _mark_stops(axes, findings, {*others, *styled})
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("\n".join(["epoch", *_before_the_first(findings)]))
    place_legend(axes)
    return chart


def _draw(axes: Axes, name: str, points: Points, style: Style) -> None:
    every = max(1, len(points) // 10)
    axes.plot(
        *zip(*points, strict=True), color=style.colour, marker=style.marker, markersize=5,
        markevery=every, label=name,
    )  # fmt: skip


def _mark_stops(axes: Axes, findings: Findings, drawn: set[str]) -> None:
    """Mark the ends of the curves, each kind of end with one entry in the legend."""
    cells = [c for c in findings.begun if c.name in drawn and c.name in findings.curves]
    for why, style in STOPS.items():
        ends = [findings.curves[c.name][-1] for c in cells if stop_of(c.first) == why]
        if ends:
            axes.plot(
                *zip(*ends, strict=True), style.marker, color=style.colour, markersize=10,
                markeredgewidth=2.5 if style.marker == "|" else 0.8, linestyle="", zorder=5,
                markeredgecolor=style.colour if style.marker == "|" else "white", label=why,
            )  # fmt: skip


def stop_of(trial: RecordedTrial) -> str:
    """Why a trial stopped before the end of its run; empty where it has not."""
    if trial.outcome is Outcome.PRUNED:
        return "stopped at a rung"
    if trial.outcome is Outcome.COMPLETE:
        return LAST_RUNG if trial.paused else ""
    return "" if trial.outcome is None else trial.state.replace("_", " ")


def _before_the_first(findings: Findings) -> list[str]:
    """A line that names the cells whose training ended before an epoch had."""
    stops = {c.name: stop_of(c.first) for c in findings.cells if _is_without_epochs(c)}
    named = [f"{name} ({why})" for name, why in stops.items() if why]
    if not named:
        return []
    return [f"ended before the first epoch: {listed(named, MAX_NAMES)}"]


def _is_without_epochs(cell: CellSummary) -> bool:
    result = cell.first.result
    return result is not None and result.outcome.ran and not result.trained
