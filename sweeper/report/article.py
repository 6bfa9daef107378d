"""The article's claims beside what this study measured.

docs/article.md names the article, and a command for each claim.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.numbers import NOTHING, duration, gib, limit, percent, points, score
from sweeper.report.cells import CellSummary
from sweeper.report.effects import Effect, effect
from sweeper.report.findings import Findings
from sweeper.report.markdown import Table
from sweeper.report.pareto import End
from sweeper.trial.levers import pulled

ARTICLE = (
    "The article that sweeper comes from, «YOLO11显存占用过高?梯度累积优化部署案例详解» "
    "(5 February 2026), trained YOLO11 on an RTX 3090 (24 GB) with COCO128"
)
NOT_RUN = "not run here"
NOT_KNOWN = "not known here: the trials did not complete"
BUSY = "not known here: the machine was busy"

# Its strategies: batch, accumulate, amp.
BASELINE = (16, 1, False)
SMALL_BATCH = (4, 1, False)
ACCUMULATE = (4, 4, False)
AMP = (16, 1, True)
ACCUMULATE_AMP = (4, 4, True)
BATCH_8 = (8, 1, False)
STRATEGIES = (BASELINE, SMALL_BATCH, ACCUMULATE, AMP, ACCUMULATE_AMP)
ENOUGH = 3


def claims(findings: Findings) -> Table | None:
    """One row per claim; None unless the study has enough of the article's cells."""
    plain = [c for c in findings.cells if not pulled(c.spec)]
    cells = {(c.spec.batch, c.spec.accumulate, c.spec.amp): c for c in plain}
    if sum(s in cells for s in STRATEGIES) < ENOUGH:
        return None
    budget = findings.limit_gib
    small, accumulated = cells.get(SMALL_BATCH), cells.get(ACCUMULATE)
    memory, time, map50 = _accumulate(small, accumulated, findings.comparable_end)
    amp = [
        _effect(cells.get(before), cells.get(after), findings.comparable_end)
        for before, after in ((ACCUMULATE, ACCUMULATE_AMP), (BASELINE, AMP))
    ]
    none = NOT_KNOWN if AMP in cells or ACCUMULATE_AMP in cells else NOT_RUN
    rows = [
        ["batch 16 does not fit (23.8 of 24 GB)", _fits(cells.get(BASELINE), budget)],
        ["batch 8 takes 18.2 GB", _fits(cells.get(BATCH_8), budget)],
        ["batch 4 takes 11.5 GB", _fits(cells.get(SMALL_BATCH), budget)],
        ["batch 4 × accumulate 4 takes 12.1 GB: 5 % more than batch 4 alone", memory],
        ["… and 3 h 42 min instead of 3 h 38 min: 2 % more", time],
        ["… and gains 2.5 points of mAP@0.5: 39.8 to 42.3 %", map50],
        ["amp saves about 20 % of the memory", _both([e.peak_percent for e in amp], none)],
        [
            "amp saves about 15 % of the time",
            _both([e.time_percent for e in amp], BUSY if findings.busy else none),
        ],
    ]
    return Table(["claim of the article", "here"], rows, left=("here",))


def _effect(before: CellSummary | None, after: CellSummary | None, end: End) -> Effect:
    return effect(before, after, end) if before and after else Effect(None, None, None)


def _accumulate(
    before: CellSummary | None, after: CellSummary | None, end: End
) -> tuple[str, str, str]:
    """What accumulate changes in memory, time and mAP@0.5, as text."""
    seen = _effect(before, after, end)
    if before is None or after is None:
        return NOT_RUN, NOT_RUN, NOT_RUN
    time = _from_to(percent(seen.time_percent), duration(before.whole_s), duration(after.whole_s))
    return (
        _from_to(percent(seen.peak_percent), gib(before.need_gib), gib(after.need_gib), " GiB"),
        BUSY if before.waited or after.waited else time,
        _from_to(f"{points(seen.map50_points)} points", score(end(before)), score(end(after))),
    )


def _from_to(change: str, before: str, after: str, unit: str = "") -> str:
    """``+5 %: 11.5 to 12.1 GiB``; without one of the two it is not known."""
    return NOT_KNOWN if NOTHING in (before, after) else f"{change}: {before} to {after}{unit}"


def _fits(cell: CellSummary | None, limit_gib: float) -> str:
    if cell is None:
        return NOT_RUN
    source = cell.first.vram_source or "source unknown"
    peak = f"{gib(cell.peak_gib)} of {limit(limit_gib)} GiB ({source})"
    if cell.infeasible:
        return f"does not fit: {peak}" if cell.peak_gib is not None else "does not fit"
    if cell.fits:
        return f"fits: {peak}"
    if cell.need_gib is not None:
        return f"fits: {peak}; the trial is {cell.state}"
    return f"unknown: the trial is {cell.state}"


def _both(values: Sequence[float | None], none: str) -> str:
    """On batch 4 × accumulate 4, and on batch 16 alone."""
    names = ("b4×a4", "b16×a1")
    known = [f"{percent(v)} ({n})" for v, n in zip(values, names, strict=True) if v is not None]
    return ", ".join(known) or none
