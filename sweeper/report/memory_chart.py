"""The peak memory of a study's cells: against the batch, and in its parts."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sweeper.numbers import gib, limit
from sweeper.report import colours
from sweeper.report.cells import CellSummary
from sweeper.report.chart import (
    SIZE_IN,
    Chart,
    draw_points,
    new_axes,
    place_legend,
    ring,
    say_empty,
)
from sweeper.report.colours import BLACK, BUDGET, GREY, LIGHT_GREY, UNFIT, styles
from sweeper.report.findings import Findings
from sweeper.report.tables import PARTS, cells_with_parts, part_names
from sweeper.trial.levers import in_words, pulled
from sweeper.trial.spec import AMP_WORDS

# Of the memory classes; their points have the colours, which tell cells apart.
LINES = [(colour, line) for colour in (GREY, LIGHT_GREY) for line in ("-", "--", "-.", ":")]
MAX_BARS = 16
FAR = 3  # a budget of that many times the largest peak would leave the data no room
SMALL_PART = 0.015  # of the whole bar


def memory_by_batch(findings: Findings) -> Chart:
    """Peak memory against batch, one line per memory class, with the budget."""
    chart = Chart()
    axes = new_axes(chart, "Peak memory against batch", "batch", _peak_label(findings))
    known = [c for c in findings.cells if c.peak_gib is not None]
    if not known:
        say_empty(axes, "no peak is known yet")
        return chart
    peaks = {name: _peaks_by_batch(cells) for name, cells in _memory_classes(known).items()}
    lines = {name: found for name, found in peaks.items() if len(found) > 1}
    if len(lines) > len(LINES):
        note = f"lines of the first {len(LINES)} of {len(lines):,} memory classes"
        axes.set_xlabel(f"batch ({note})")
    for (name, found), (colour, line) in zip(lines.items(), LINES, strict=False):
        axes.plot([*found], [*found.values()], color=colour, linestyle=line, label=name)
    points = {c.name: (float(c.spec.batch), c.peak_gib or 0.0) for c in known}
    draw_points(axes, points, styles(findings))
    if findings.recommended in known:
        ring(axes, points[findings.recommended.name])
    outside = [points[c.name] for c in known if c.infeasible]
    if outside:
        axes.plot(
            *zip(*outside, strict=True), "x", color=UNFIT, markersize=10, markeredgewidth=2.2,
            zorder=6, label="does not fit",
        )  # fmt: skip
    _draw_budget(axes, axes.axhline, findings)
    batches = sorted({c.spec.batch for c in known})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(b) for b in batches])
    axes.minorticks_off()
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # the mark of the highest peak is whole
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
        colour = UNFIT if cell.infeasible else BLACK
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
        if part in colours.PARTS and any(
            w >= SMALL_PART * peak for w, peak in zip(widths, peaks, strict=True)
        ):
            bars[PARTS[part]] = colours.PARTS[part], widths
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
    return apart if len(apart) <= len(LINES) else _by_class(cells, by_accumulation=False)


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
        line(budget, color=BUDGET, linestyle="--", linewidth=1.5, label=label)
    else:
        axes.plot([], [], color=BUDGET, linestyle="--", label=f"{label},\nnot drawn: far above")
