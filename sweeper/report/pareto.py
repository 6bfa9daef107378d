"""The cells that no other equals or beats in everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sweeper.report.cells import CellSummary

End = Callable[[CellSummary], float | None]


def pareto_front(cells: Iterable[CellSummary], end: End) -> list[CellSummary]:
    """The cells that no other equals or beats in mAP@0.5, time and memory; best mAP first.

    Args:
        cells: Those of which anything is not known are left out.
        end: mAP@0.5 of each at the end of the whole run.
    """
    known = [
        (-map50, cell.whole_s, cell.peak_gib, cell)
        for cell in cells
        if (map50 := end(cell)) is not None
        and cell.whole_s is not None
        and cell.peak_gib is not None
    ]
    front: list[tuple[float, float]] = []
    kept: list[CellSummary] = []
    for _, time, peak, cell in sorted(known, key=lambda found: found[:3]):
        # all kept ones have at least this mAP
        if not any(t <= time and p <= peak for t, p in front):
            front.append((time, peak))
            kept.append(cell)
    return kept
