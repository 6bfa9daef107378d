"""Which colour and mark stand for what, in every plot of a study."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.colors import LinearSegmentedColormap

from sweeper.report.findings import Findings

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/: told apart with any colour vision.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
WINE, OLIVE = "#882255", "#999933"  # Paul Tol's, https://personal.sron.nl/~pault/
GREY, LIGHT_GREY = "#6b6b6b", "#c4c4c4"

UNFIT, BUDGET, CHOSEN = VERMILLION, BLACK, BLACK
SCORES = LinearSegmentedColormap.from_list("scores", ["#f2f7fb", SKY, BLUE])
PARTS = {
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


@dataclass(frozen=True, slots=True)
class Style:
    """How a cell is drawn."""

    colour: str
    marker: str


# Vermillion and black are none of them: they mark what does not fit, the budget and the choice.
STYLES = (
    *(Style(BLUE, "o"), Style(ORANGE, "s"), Style(GREEN, "^"), Style(PURPLE, "D")),
    *(Style(SKY, "v"), Style(WINE, "P"), Style(OLIVE, "*")),
)
OTHER = Style(LIGHT_GREY, "o")  # a cell without a style of its own


def styles(findings: Findings) -> dict[str, Style]:
    """The styles of the best cells, by name; while there are few, of others that have begun."""
    return {cell.name: style for cell, style in zip(findings.begun, STYLES, strict=False)}
