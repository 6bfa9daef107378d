"""Peak against batch as stacked parts under the budget line, one panel per setup."""

from __future__ import annotations

import io
import math
import textwrap

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeper.memory.verdict import Verdict
from sweeper.plan.cells import Setup
from sweeper.plan.facets import VARYING, columns, shared
from sweeper.plan.preamble import BOUND
from sweeper.plan.predictions import Plan, PlanCell
from sweeper.trial.readings import SIMULATED
from sweeper.trial.spec import AMP_WORDS

# Paul Tol's "muted" scheme, safe for colour-blind readers (personal.sron.nl/~pault), in an order
# that sets neighbours apart; from what is always held to what a step adds.
COLOURS = {
    "context": "#DDDDDD",
    "weights": "#332288",
    "ema": "#88CCEE",
    "optimizer": "#117733",
    "gradients": "#DDCC77",
    "input": "#882255",
    "activations": "#44AA99",
    "loss": "#CC6677",
    "workspace": "#999933",
    "cache": "#AA4499",
}
PANEL_INCHES = (4.4, 3.4)
FEWEST_BARS = 4  # a panel's width is for at least as many
MOST_UPRIGHT = 6  # with more bars their labels are turned
LETTERS_PER_INCH = 11  # of the title
HEADROOM = 1.35  # of the highest bar or line, for the figures above the bars


def draw(plan: Plan, form: str) -> bytes:
    """The figure as a file of the form ``png``, ``svg`` or ``pdf``."""
    setups = list(plan.found)
    across = len(setups) if len(setups) <= 3 else math.ceil(math.sqrt(len(setups)))
    down = math.ceil(len(setups) / across)
    width, height = PANEL_INCHES[0] * across + 1.5, PANEL_INCHES[1] * down + 0.5
    with matplotlib.rc_context({"font.size": 9, "svg.hashsalt": "sweeper"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).flatten().tolist()
        for panel, setup in zip(panels, setups, strict=False):
            _draw_panel(panel, plan, _bars(plan, setup))
        for spare in panels[len(setups) :]:
            spare.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False)
        figure.suptitle(_title(plan, width), fontsize=10)
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=150)
    return content.getvalue()


def _title(plan: Plan, width: float) -> str:
    """In lines as wide as the figure, inches."""
    same = ", ".join(f"{name} {text}" for name, text in shared(plan).items())
    lines = textwrap.wrap(same, int(width * LETTERS_PER_INCH), break_on_hyphens=False)
    return "\n".join([f"Peak device memory, {SIMULATED}", *lines])


def _bars(plan: Plan, setup: Setup) -> list[PlanCell]:
    """The cells of a setup and, wherever it lies, its largest batch."""
    cells = [cell for cell in plan.cells if cell.setup == setup]
    largest = plan.found[setup].largest
    if largest is not None and largest.batch not in {cell.batch for cell in cells}:
        cells.append(largest)
    return sorted(cells, key=lambda cell: (cell.batch, cell.accumulate))


def _draw_panel(panel: Axes, plan: Plan, cells: list[PlanCell]) -> None:
    places = range(len(cells))
    below = [0.0] * len(cells)
    for part, colour in COLOURS.items():
        heights = [cell.parts[part] for cell in cells]
        panel.bar(places, heights, 0.8, below, color=colour, label=part)
        below = [b + h for b, h in zip(below, heights, strict=True)]
    budget_gib = cells[0].setup.budget.limit_gib
    panel.axhline(budget_gib, color="black", linestyle="--", linewidth=1.2, label="budget")
    bounds = [cell.upper_gib for cell in cells]
    panel.vlines(places, below, bounds, color="black", linewidth=1.0, label=BOUND)
    top = max(*bounds, budget_gib) * HEADROOM
    for place, cell in zip(places, cells, strict=True):
        _write_peak(panel, place, cell, len(cells))
    panel.set_ylim(0, top)
    panel.set_xlim(-0.6, max(len(cells), FEWEST_BARS) - 0.4)
    panel.set_xticks(places, [_tick(cell, cells) for cell in cells])
    panel.tick_params("x", labelrotation=90 if len(cells) > MOST_UPRIGHT else 0)
    panel.set_xlabel("batch")
    panel.set_ylabel("GiB")
    panel.set_title(_panel_title(plan, cells[0]), fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)


def _write_peak(panel: Axes, place: int, cell: PlanCell, bars: int) -> None:
    """Peak and bound above the bar; bold where it does not fit, slanted where it is tight."""
    panel.annotate(
        f"{cell.peak_gib:.1f}–{cell.upper_gib:.1f}",
        (place, cell.upper_gib),
        (0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=90 if bars > MOST_UPRIGHT else 0,
        fontweight="bold" if cell.verdict is Verdict.NO else "normal",
        fontstyle="italic" if cell.verdict is Verdict.TIGHT else "normal",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
    )


def _tick(cell: PlanCell, cells: list[PlanCell]) -> str:
    """The batch, with accumulate where one batch is there with several."""
    twice = len({c.batch for c in cells}) < len(cells)
    return f"{cell.batch}×{cell.accumulate}" if twice else f"{cell.batch}"


def _panel_title(plan: Plan, cell: PlanCell) -> str:
    setup, largest = cell.setup, plan.found[cell.setup].largest
    names = [setup.model, *(VARYING[name](setup) for name in columns(plan))]
    fits = f"batch ≤ {largest.batch} fits" if largest else "nothing fits"
    amp = AMP_WORDS[setup.config.amp]
    return f"{', '.join(names)}, amp {amp}: {fits} {setup.budget.limit_gib:.2f} GiB"
