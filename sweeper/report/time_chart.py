"""mAP@0.5 against time, with the Pareto front of the two."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.report.cells import CellSummary
from sweeper.report.chart import (
    Chart,
    draw_points,
    name_points,
    new_axes,
    place_legend,
    ring,
    say_empty,
)
from sweeper.report.colours import BLACK, GREY, OTHER, styles
from sweeper.report.findings import Findings


def map50_by_time(findings: Findings) -> Chart:
    """mAP@0.5 against time at the end of the whole run, with the Pareto front of the two."""
    chart = Chart()
    cells = [c for c in findings.cells if c.whole_s is not None and findings.end(c) is not None]
    unit, seconds = _time_unit(max((c.whole_s or 0.0 for c in cells), default=0.0))
    what = ", expected" if findings.in_parts else ""
    title, x = f"mAP@0.5 against time of the whole run{what}", f"whole run, {unit}"
    axes = new_axes(chart, title, x, "mAP@0.5 at the end")

    def point(cell: CellSummary) -> tuple[float, float]:
        return (cell.whole_s or 0.0) / seconds, findings.end(cell) or 0.0

    if not cells:
        say_empty(axes, "no trial has completed")
        return chart
    styled = styles(findings)
    for cell in cells:
        spread = 0.0 if cell.paused else cell.map50_deviation or 0.0
        if spread:
            colour = styled.get(cell.name, OTHER).colour
            axes.errorbar(*point(cell), yerr=spread, fmt="none", ecolor=colour)
    draw_points(axes, {c.name: point(c) for c in cells}, styled)
    if findings.recommended in cells:
        ring(axes, point(findings.recommended))
    front = _fastest_first(cells, point)
    xs, ys = zip(*(point(c) for c in front), strict=True)
    name = "Pareto front: time, mAP@0.5"
    axes.step(xs, ys, where="post", color=GREY, linewidth=1, linestyle="--", label=name)
    others = [c for c in cells if c not in front]
    named = [*((c, BLACK) for c in reversed(front)), *((c, GREY) for c in others)]
    name_points(axes, [(c.name, point(c), colour) for c, colour in named])
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=max(low, -0.03 * high))  # a mark at 0 is whole, and nothing lies below
    place_legend(axes)
    return chart


def _time_unit(longest_s: float) -> tuple[str, float]:
    """The unit in which the longest time is a number of a few digits, and its seconds."""
    if longest_s < 180:
        return "s", 1.0
    return ("min", 60.0) if longest_s < 3 * 3600 else ("h", 3600.0)


def _fastest_first(
    cells: list[CellSummary], point: Callable[[CellSummary], tuple[float, float]]
) -> list[CellSummary]:
    """The Pareto front of time and mAP@0.5."""
    front: list[CellSummary] = []
    best = -1.0
    for cell in sorted(cells, key=lambda c: (point(c)[0], -point(c)[1])):
        if point(cell)[1] > best:
            front.append(cell)
            best = point(cell)[1]
    return front
