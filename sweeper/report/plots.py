"""The plots of the report; each is a function that returns a matplotlib Figure."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeper.numbers import gib, limit
from sweeper.report.cell_map import cell_map as cell_map
from sweeper.report.cells import CellSummary
from sweeper.report.chart import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    SERIES,
    SIZE_IN,
    SKY,
    VERMILLION,
    YELLOW,
    Chart,
    name_points,
    new_axes,
    place_legend,
    say_empty,
)
from sweeper.report.findings import Findings
from sweeper.report.tables import PARTS, cells_with_parts, part_names
from sweeper.trial.levers import in_words, pulled
from sweeper.trial.record import AMP_WORDS, AMPS

MAX_SERIES = 7  # memory classes; vermillion marks what does not fit
MAX_BARS = 16
FAR = 3  # a budget of that many times the largest peak would leave the data no room
SMALL_PART = 0.015  # of the whole bar
PART_COLOURS = {
    "context": GREY,
    "weights": ORANGE,
    "gradients": GREEN,
    "optimizer": PURPLE,
    "ema": SKY,
    "activations": BLUE,
    "loss": VERMILLION,
    "workspace": YELLOW,
    "cache": LIGHT_GREY,
}

Curves = Mapping[str, Sequence[tuple[int, float]]]


def memory_by_batch(findings: Findings) -> Chart:
    """Peak memory against batch, one line per memory class, with the budget."""
    chart = Chart()
    axes = new_axes(chart, "Peak memory against batch", "batch", _peak_label(findings))
    known = [c for c in findings.cells if c.peak_gib is not None]
    if not known:
        say_empty(axes, "no peak is known yet")
        return chart
    classes = _memory_classes(known)
    if len(classes) > MAX_SERIES:
        note = f"lines of the first {MAX_SERIES} of {len(classes):,} memory classes"
        axes.set_xlabel(f"batch ({note})")
    for (name, cells), colour, marker in zip(
        [*classes.items()][:MAX_SERIES], SERIES, MARKERS, strict=False
    ):
        peaks = _peaks_by_batch(cells)
        axes.plot([*peaks], [*peaks.values()], color=colour, marker=marker, label=name)
    outside = [c for c in known if c.infeasible]
    if outside:
        axes.scatter(
            [c.spec.batch for c in outside],
            [c.peak_gib or 0.0 for c in outside],
            marker="x", s=110, linewidths=2.2, color=VERMILLION, zorder=5, label="does not fit",
        )  # fmt: skip
    _draw_budget(axes, axes.axhline, findings)
    batches = sorted({c.spec.batch for c in known})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(b) for b in batches])
    axes.minorticks_off()
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # the mark of the highest peak is whole
    place_legend(axes)
    return chart


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
    for amp, colour, marker in zip(AMPS, SERIES, MARKERS, strict=False):
        group = [c for c in cells if c.spec.amp == amp]
        if group:
            times, scores = zip(*(point(c) for c in group), strict=True)
            spread = [0.0 if c.paused else c.map50_deviation or 0.0 for c in group]
            axes.errorbar(
                times, scores, yerr=spread if any(spread) else None,
                fmt=marker, color=colour, markersize=7, label=f"amp {AMP_WORDS[amp]}",
            )  # fmt: skip
    front = _fastest_first(cells, point)
    xs, ys = zip(*(point(c) for c in front), strict=True)
    axes.step(xs, ys, where="post", color=BLACK, linewidth=1, linestyle="--", label="Pareto front")
    others = [c for c in cells if c not in front]
    named = [*((c, BLACK) for c in reversed(front)), *((c, GREY) for c in others)]
    name_points(axes, [(c.name, point(c), colour) for c, colour in named])
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=max(low, -0.03 * high))  # a mark at 0 is whole, and nothing lies below
    place_legend(axes)
    return chart


def learning_curves(curves: Curves) -> Chart:
    """mAP@0.5 by epoch, one line per cell.

    Args:
        curves: The points (epoch, mAP@0.5) by the cell's name, at most eight.
    """
    chart = Chart()
    axes = new_axes(chart, "Learning curves", "epoch", "mAP@0.5")
    drawn = {name: points for name, points in curves.items() if points}
    if not drawn:
        say_empty(axes, "no epoch has ended")
        return chart
    for (name, points), colour, marker in zip(drawn.items(), SERIES, MARKERS, strict=False):
        epochs, scores = zip(*points, strict=True)
        every = max(1, len(epochs) // 10)
        axes.plot(
            epochs, scores, color=colour, marker=marker, markersize=5, markevery=every, label=name
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(bottom=-0.005)
    place_legend(axes)
    return chart


def peak_parts(findings: Findings) -> Chart:
    """The peak in its parts, one bar per distinct peak, with the budget."""
    cells = cells_with_parts(findings)[:MAX_BARS]
    chart = Chart(height_in=max(SIZE_IN[1] / 2, 1.4 + 0.32 * len(cells)))
    axes = new_axes(chart, "Peak memory in its parts", _peak_label(findings), "")
    if not cells:
        say_empty(axes, "no peak is split into parts")
        return chart
    rows, lefts = range(len(cells)), [0.0] * len(cells)
    for label, (colour, widths) in _bars(cells).items():
        axes.barh(
            rows, widths, left=lefts, height=0.7, color=colour,
            edgecolor="white", linewidth=0.5, label=label,
        )  # fmt: skip
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    for row, cell, end in zip(rows, cells, lefts, strict=True):
        text = f" {gib(cell.peak_gib)}" + ("  does not fit" if cell.infeasible else "")
        colour = VERMILLION if cell.infeasible else BLACK
        axes.text(end, row, text, va="center", fontsize=8, color=colour)
    axes.set_yticks(rows, [c.name for c in cells])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.2)
    _draw_budget(axes, axes.axvline, findings)
    place_legend(axes)
    return chart


def _bars(cells: list[CellSummary]) -> dict[str, tuple[str, list[float]]]:
    """Colour and widths by part; parts too small to be seen are joined, and named together."""
    peaks = [c.peak_gib or 1.0 for c in cells]
    bars: dict[str, tuple[str, list[float]]] = {}
    rest, names = [0.0] * len(cells), []
    for part in part_names(cells):
        widths = [c.first.parts.get(part, 0.0) for c in cells]
        if part in PART_COLOURS and any(
            w >= SMALL_PART * peak for w, peak in zip(widths, peaks, strict=True)
        ):
            bars[PARTS[part]] = PART_COLOURS[part], widths
        else:
            rest = [a + b for a, b in zip(rest, widths, strict=True)]
            names.append(PARTS.get(part, part))
    label = textwrap.fill(", ".join(names), 18)
    return bars | ({label: (BLACK, rest)} if any(rest) else {})


def _peak_label(findings: Findings) -> str:
    source = " and ".join(findings.sources)
    return f"peak memory, GiB ({source})" if source else "peak memory, GiB"


def _memory_classes(cells: list[CellSummary]) -> dict[str, list[CellSummary]]:
    """Cells whose peak depends on the batch alone, by a name.

    Where these are too many, accumulation, which moves the peak least, tells none apart.
    """
    apart = _by_class(cells, len({c.spec.accumulate > 1 for c in cells}) > 1)
    return apart if len(apart) <= MAX_SERIES else _by_class(cells, by_accumulation=False)


def _by_class(cells: list[CellSummary], by_accumulation: bool) -> dict[str, list[CellSummary]]:
    classes: dict[str, list[CellSummary]] = defaultdict(list)
    for cell in cells:
        words = [cell.name.removeprefix(cell.spec.label).strip()]
        words += [f"amp {AMP_WORDS[cell.spec.amp]}", in_words(pulled(cell.spec))]
        if by_accumulation:
            words += ["accumulate > 1" if cell.spec.accumulate > 1 else "accumulate 1"]
        classes[", ".join(w for w in words if w)].append(cell)
    return dict(sorted(classes.items()))


def _peaks_by_batch(cells: list[CellSummary]) -> dict[int, float]:
    """The highest peak of each batch, in order."""
    peaks: dict[int, float] = {}
    for cell in sorted(cells, key=lambda c: c.spec.batch):
        peaks[cell.spec.batch] = max(peaks.get(cell.spec.batch, 0.0), cell.peak_gib or 0.0)
    return peaks


def _draw_budget(axes: Axes, line: Callable[..., Line2D], findings: Findings) -> None:
    """The budget as a line, or in the legend only where it would dwarf the data."""
    budget = findings.limit_gib
    label = f"budget {limit(budget)} GiB"
    if budget < FAR * max(c.peak_gib or 0.0 for c in findings.cells):
        # white below it, so that it is seen on a dark bar
        line(budget, color="white", linewidth=2.5)
        line(budget, color=GREY, linestyle="--", linewidth=1.5, label=label)
    else:
        axes.plot([], [], color=GREY, linestyle="--", label=f"{label},\nfar beyond the axis")


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
