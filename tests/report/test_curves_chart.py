"""The learning curves: which are drawn, in which colours, and why they end."""

from __future__ import annotations

import pytest

from sweeper.report import plots
from sweeper.report.chart import Chart
from sweeper.report.colours import STYLES, styles
from sweeper.report.findings import Findings
from sweeper.trial.record import Outcome
from tests.report.synthetic import Row, recorded

LEARNT = (0.1, 0.3, 0.5)


def findings(*rows: Row) -> Findings:
    return Findings(recorded(rows))


def legend(chart: Chart) -> dict[str, tuple[str, str]]:
    """Colour and mark by what the legend calls them."""
    lines, names = chart.axes[0].get_legend_handles_labels()
    return {
        n: (str(x.get_color()), str(x.get_marker())) for n, x in zip(names, lines, strict=True)
    }


@pytest.mark.parametrize(
    ("outcome", "whole", "why"),
    [
        (Outcome.PRUNED, False, "stopped at a rung"),
        (Outcome.COMPLETE, False, "at the last rung"),
        (Outcome.OUT_OF_MEMORY, True, "out of memory"),
        (Outcome.INTERRUPTED, True, "interrupted"),
        (Outcome.DIVERGED, True, "diverged"),
    ],
)
def test_the_end_of_a_curve_says_why_the_trial_stopped(
    outcome: Outcome, whole: bool, why: str
) -> None:
    rows = Row(8, 1, False, map50=LEARNT), Row(4, 1, False, outcome, 9.0, LEARNT, whole=whole)
    chart = plots.learning_curves(findings(*rows))
    assert list(legend(chart)) == ["b8×a1", "b4×a1", why]
    (mark,) = (line for line in chart.axes[0].lines if line.get_label() == why)
    assert mark.get_xydata().tolist() == [[3.0, 0.5]]


def test_a_run_to_its_end_has_no_mark() -> None:
    chart = plots.learning_curves(findings(Row(8, 1, False, map50=LEARNT)))
    assert list(legend(chart)) == ["b8×a1"]


def test_what_ended_before_its_first_epoch_is_named_below() -> None:
    rows = (Row(b, 1, False, Outcome.OUT_OF_MEMORY, 30.0) for b in (8, 16, 32, 64))
    chart = plots.learning_curves(findings(Row(4, 1, False, map50=LEARNT), *rows))
    assert chart.axes[0].get_xlabel() == (
        "epoch\nended before the first epoch: b8×a1 (out of memory), b16×a1 (out of memory), "
        "b32×a1 (out of memory) and 1 more"
    )


def test_a_cell_looks_the_same_in_every_plot(article: Findings) -> None:
    known = {name: (style.colour, style.marker) for name, style in styles(article).items()}
    assert len(known) == 4
    for draw in (plots.learning_curves, plots.memory_by_batch, plots.map50_by_time):
        assert known.items() <= legend(draw(article)).items()


def test_cells_beyond_the_colours_are_drawn_as_others() -> None:
    rows = (Row(b, 1, False, map50=LEARNT, wall_time_s=9.0) for b in range(1, len(STYLES) + 4))
    chart = plots.learning_curves(findings(*rows))
    assert len(chart.axes[0].lines) == len(STYLES) + 3
    assert list(legend(chart)).count("other cells") == 1
