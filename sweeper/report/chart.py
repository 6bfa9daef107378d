"""How every plot looks: sizes, axes, legends and names."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweeper.report.colours import CHOSEN, GREY, OTHER, Style

SIZE_IN = (8.0, 4.5)
DPI = 150
MAX_NAMES = 12
CHARACTER = (0.013, 0.05)  # of a point's name, in fractions of the axes


class Chart(Figure):
    """A figure that notebooks show by themselves, and that needs no pyplot."""

    def __init__(self, height_in: float = SIZE_IN[1]) -> None:
        super().__init__(figsize=(SIZE_IN[0], height_in), dpi=DPI, layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return self.png()

    def png(self) -> bytes:
        """The figure as a PNG file; equal figures give equal bytes."""
        file = io.BytesIO()
        self.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()


def new_axes(chart: Chart, title: str, x: str, y: str) -> Axes:
    """Axes with a title, units at the axes, and a faint grid behind the data."""
    axes = chart.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#d9d9d9", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def say_empty(axes: Axes, text: str) -> None:
    """Say in the middle of the axes why there is nothing to see."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_points(
    axes: Axes, points: Mapping[str, tuple[float, float]], styled: Mapping[str, Style]
) -> None:
    """Draw each cell's point by its name, those without a style of their own below the others."""
    for name in [*(n for n in points if n not in styled), *(n for n in styled if n in points)]:
        style = styled.get(name, OTHER)
        label, layer = (name, 4) if name in styled else (None, 3)
        axes.plot(
            *points[name], style.marker, color=style.colour, markersize=8, markeredgecolor="white",
            linestyle="", zorder=layer, label=label,
        )  # fmt: skip


def ring(axes: Axes, point: tuple[float, float]) -> None:
    """Mark the recommended cell."""
    axes.plot(
        *point, "o", color="none", markeredgecolor=CHOSEN, markeredgewidth=1.8, markersize=15,
        linestyle="", zorder=5, label="recommended",
    )  # fmt: skip


def place_legend(axes: Axes) -> None:
    """Put the legend to the right of the axes, where it covers no data."""
    axes.legend(
        markerscale=0.7, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )


def name_points(axes: Axes, points: Iterable[tuple[str, tuple[float, float], str]]) -> None:
    """Name points in their order, but for the names that would cover another one.

    Args:
        axes: With all of the data drawn.
        points: Name, place and colour of each.
    """
    axes.margins(x=0.12, y=0.12)
    axes.autoscale_view()  # else the transformation is that of empty axes
    to_axes = axes.transData + axes.transAxes.inverted()
    taken: list[tuple[float, float, float]] = []  # from left to right at a height
    for name, point, colour in points:
        x, y = to_axes.transform(point)
        width = CHARACTER[0] * len(name)
        inside = x + width < 1
        left = x if inside else x - width
        covers = any(
            left < to and start < left + width and abs(y - height) < CHARACTER[1]
            for start, to, height in taken
        )
        if not covers and len(taken) < MAX_NAMES:
            taken.append((left, left + width, y))
            axes.annotate(
                name, point, (6 if inside else -6, 6), textcoords="offset points", fontsize=8,
                color=colour, ha="left" if inside else "right",
            )  # fmt: skip
