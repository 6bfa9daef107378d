"""The picture of a study: a map of batch × accumulate, with what each cell reaches and takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from sweeper.numbers import gib, limit, score
from sweeper.report.cells import CellSummary
from sweeper.report.chart import Chart, say_empty
from sweeper.report.colours import BLACK, BUDGET, CHOSEN, GREY, SCORES, UNFIT, Style, styles
from sweeper.report.findings import Findings
from sweeper.trial.spec import AMP_WORDS, AMPS

SPAN = 0.1  # mAP@0.5 that the colours span at least: noise is not to look like a difference
DARK = 0.6  # from there on words are white
SIDE = 0.92  # of a cell's place
ROOMY = 8  # columns in all that leave the words their size
BAR = (0.78, 0.07)  # of the memory bar whose end is the budget: width, height
FAR = 0.86  # of the bar of what passes the budget: it ends in the cell
MOST = 12  # batches, and accumulates: those next to the recommended cell
STATES = {
    "out of memory": "does not fit",
    "over budget": "does not fit",
    "implied": "does not fit\n(implied)",
    "covered": "not trained:\ncovered",
    "pruned": "stopped:\nlearning had\nhardly begun",
}


def cell_map(findings: Findings) -> Chart:
    """mAP@0.5 at the end by colour and peak memory as a bar, a panel for each kind of amp.

    Only cells that share all but batch, accumulate and amp with the recommended one.
    """
    if not findings.cells:
        chart = Chart()
        say_empty(chart.add_subplot(), "no trial has begun")
        return chart
    shown = findings.winner or findings.cells[0]
    alike = [c for c in findings.cells if c.setting == shown.setting]
    batches = _nearest((c.spec.batch for c in alike), shown.spec.batch)
    accumulates = _nearest((c.spec.accumulate for c in alike), shown.spec.accumulate)
    cells = [c for c in alike if c.spec.batch in batches and c.spec.accumulate in accumulates]
    panels = sorted({c.spec.amp for c in cells}, key=AMPS.index)
    chart = Chart(height_in=max(3.2, 1.6 + 0.95 * len(accumulates)))
    scale = min(1.0, ROOMY / (len(panels) * len(batches)))
    colours = _colours([end for c in cells if (end := findings.end(c)) is not None])
    marks = styles(findings)
    for amp, axes in zip(panels, chart.subplots(1, len(panels), squeeze=False)[0], strict=True):
        panel = _Panel(axes, findings, colours, scale)
        _frame(axes, f"amp {AMP_WORDS[amp]}", batches, accumulates)
        for cell in cells:
            if cell.spec.amp == amp:
                x, y = cell.spec.batch, cell.spec.accumulate
                place = batches.index(x), accumulates.index(y)
                panel.draw(cell, *place)
                panel.mark(marks.get(cell.name), *place)
    ends = "expected at the end" if findings.in_parts else "reached"
    chart.colorbar(ScalarMappable(colours, SCORES), ax=chart.axes, label=f"mAP@0.5 {ends}")
    source = " and ".join(findings.sources)
    every = len(findings.cells)
    cut = f"\n{len(cells)} of {every} cells are shown" if len(cells) < every else ""
    if len(alike) < every:
        near = "of those" if len(cells) < len(alike) else "those"
        cut += f": {near} that differ from {shown.name} in batch, accumulate and amp alone"
    chart.suptitle(
        f"Bar: peak memory, GiB ({source}); the stroke is the budget of "
        f"{limit(findings.limit_gib)}.\nHatched: not judged. Frame: recommended. "
        f"In the corner: the cell's mark in the other plots.{cut}",
        fontsize=8, color=GREY,
    )  # fmt: skip
    return chart


def _nearest(values: Iterable[int], to: int) -> list[int]:
    """Those next to a value in the order of all, ascending."""
    found = sorted(set(values))
    first = min(max(0, found.index(to) - MOST // 2), max(0, len(found) - MOST))
    return found[first : first + MOST]


def _colours(ends: Sequence[float]) -> Normalize:
    if not ends:
        return Normalize(0.0, 1.0)
    low = max(min(*ends, max(ends) - SPAN), 0.0)
    return Normalize(low, max(*ends, low + SPAN))


def _frame(axes: Axes, title: str, batches: list[int], accumulates: list[int]) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("batch")
    axes.set_ylabel("accumulate")
    axes.set_xticks(range(len(batches)), [str(b) for b in batches])
    axes.set_yticks(range(len(accumulates)), [str(a) for a in accumulates])
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(batches) - 0.5)
    axes.set_ylim(-0.5, len(accumulates) - 0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


@dataclass(frozen=True, slots=True)
class _Panel:
    """Where cells are drawn, and how large their words are."""

    axes: Axes
    findings: Findings
    colours: Normalize
    scale: float

    def draw(self, cell: CellSummary, x: int, y: int) -> None:
        """A cell in its place."""
        end = self.findings.end(cell)
        shade = None if end is None else float(self.colours(end))
        chosen = cell is self.findings.recommended
        self.axes.add_patch(
            Rectangle(
                (x - SIDE / 2, y - SIDE / 2), SIDE, SIDE,
                facecolor="white" if shade is None else SCORES(shade),
                edgecolor=CHOSEN if chosen else "#d0d0d0", linewidth=2.2 if chosen else 0.8,
                hatch="////" if shade is None else None, zorder=2 if chosen else 1,
            )
        )  # fmt: skip
        ink = "white" if shade is not None and shade > DARK else BLACK
        if end is None:
            plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            self._write(x, y + 0.1, _state(cell), 8, color=GREY, bbox=plate)
        else:
            self._write(x, y + 0.24, score(end), 11, color=ink, fontweight="bold")
            self._write(x, y + 0.03, _spread(cell, self.findings), 7.5, color=ink)
        if cell.peak_gib is not None:
            self._draw_memory(cell, cell.peak_gib, (x - FAR / 2, y - 0.36), ink)

    def mark(self, style: Style | None, x: int, y: int) -> None:
        """The mark by which other plots show the cell, in its corner."""
        if style is not None:
            for marker, colour, size in (("s", "white", 14), (style.marker, style.colour, 8)):
                self.axes.plot(
                    x + 0.37,
                    y + 0.36,
                    marker,
                    color=colour,
                    markersize=size * self.scale,
                    zorder=5,
                )

    def _draw_memory(
        self, cell: CellSummary, peak_gib: float, corner: tuple[float, float], ink: str
    ) -> None:
        """The peak as a bar; its length is cut where it passes the budget by far."""
        (left, bottom), (width, height) = corner, BAR
        share = min(peak_gib / self.findings.limit_gib * width, FAR)
        colour, ink = (UNFIT, UNFIT) if cell.infeasible else (GREY, ink)
        for length, shown in ((width, "white"), (share, colour)):
            self.axes.add_patch(Rectangle(corner, length, height, facecolor=shown, zorder=4))
        ends = [bottom - 0.03, bottom + height + 0.03]
        self.axes.plot([left + width] * 2, ends, color=BUDGET, linewidth=1.6, zorder=5)
        self._write(left, ends[1], gib(peak_gib), 7, color=ink, ha="left", va="bottom")

    def _write(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        centred = {"ha": "center", "va": "center"}
        self.axes.text(x, y, text, fontsize=size * self.scale, zorder=3, **(centred | style))


def _spread(cell: CellSummary, findings: Findings) -> str:
    """``± 0.006 of 3 seeds``, or the interval around the end, 4 times of 5."""
    if cell.compared and not cell.paused and cell.map50_deviation is not None:
        return f"±{cell.map50_deviation:.3f}, {len(cell.compared)} seeds"
    known = findings.ends.get(cell.name)
    return f"{known.low:.2f} to {known.high:.2f}" if known else ""


def _state(cell: CellSummary) -> str:
    state = cell.state.replace("_", " ")
    if cell.fits:
        return "too early\nto tell"
    return STATES.get(state, f"not judged:\n{state}")
