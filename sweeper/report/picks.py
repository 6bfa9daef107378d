"""Which cells to take where one thing counts more than all else, if not the recommended one."""

from __future__ import annotations

from collections import defaultdict

from sweeper.numbers import count, duration, gib, listed
from sweeper.report.cells import CellSummary
from sweeper.report.findings import LEAST_MAP50, Findings
from sweeper.report.markdown import literal
from sweeper.report.words import end_in_words

WORTH = 0.05  # of the time to the end, less of which is no reason to take another cell
NAMED = 3  # cells left out for one reason, before the rest is only counted
INTRODUCTION = "If one thing counts more than the rest, of the cells that were trained:"


def best_in(findings: Findings) -> dict[str, CellSummary]:
    """The cells with the best mAP@0.5 at the end, the shortest whole run and the lowest peak.

    Only cells that fit and have begun to learn; for time and memory also those that were stopped
    at a rung. Nothing without a recommended cell.
    """
    recommended = findings.recommended
    if recommended is None:
        return {}
    able = [c for c in findings.cells if (findings.end(c) or 0.0) >= LEAST_MAP50]
    able.sort(key=lambda c: c is not recommended)  # of equals the recommended one
    weighed = [c for c in able if c.peak_gib is not None]
    best = {
        "best mAP@0.5": max(
            (c for c in able if c.fits),
            key=lambda c: findings.comparable_end(c) or 0.0,
            default=recommended,
        ),
        "fastest to the end": _fastest(able, recommended),
        "least memory": min(weighed, key=lambda c: c.peak_gib or 0.0, default=recommended),
    }
    return {name: cell for name, cell in best.items() if cell is not None}


def _fastest(able: list[CellSummary], recommended: CellSummary) -> CellSummary | None:
    """Whose whole run takes the least time; None where the machine was busy, which times show.

    Another one than the recommended one only where that is worth a word.
    """
    timed = [c for c in able if c.whole_s]
    fastest = min(timed, key=lambda c: c.whole_s or 0.0, default=recommended)
    if fastest.waited or recommended.waited:
        return None
    least, ours = fastest.whole_s or 0.0, recommended.whole_s or 0.0
    return fastest if least < (1 - WORTH) * ours else recommended


def left_out(findings: Findings) -> str:
    """The cells that seem to be better in something than the one named for it, and why not."""
    best = best_in(findings)
    if not best:
        return ""
    fastest = best.get("fastest to the end")
    shortest = (fastest.whole_s or 0.0) if fastest else 0.0
    highest = findings.comparable_end(best["best mAP@0.5"]) or 0.0
    reasons: dict[str, list[str]] = defaultdict(list)
    for cell in findings.cells:
        if cell.infeasible:
            continue
        able = (findings.end(cell) or 0.0) >= LEAST_MAP50
        if cell.whole_s and cell.whole_s < shortest and not able:
            blank = (cell.map50 or 0.0) < LEAST_MAP50
            why = "detected next to nothing" if blank else "had an end that cannot be told yet"
            reasons[f"took less time, but {why}"].append(literal(cell.name))
        elif not cell.fits and (findings.comparable_end(cell) or 0.0) > highest:
            stopped = f"stopped after {cell.trained} epochs, might have ended higher"
            reasons[stopped].append(literal(cell.name))
    parts = [f"{listed(cells, NAMED)} {why}" for why, cells in reasons.items()]
    said = [f"Not counted: {'; '.join(parts)}."] if parts else []
    if fastest is None:
        said.append("The machine was busy, so no cell is called the fastest.")
    return " ".join(said)


def picks(findings: Findings) -> dict[str, CellSummary]:
    """The same, each cell once, without what the recommended one is best in."""
    names: dict[CellSummary, list[str]] = defaultdict(list)
    for name, cell in best_in(findings).items():
        if cell is not findings.recommended:
            names[cell].append(name)
    return {" and ".join(found): cell for cell, found in names.items()}


def picks_in_words(findings: Findings) -> str:
    """A list in markdown; empty where the recommended cell is the best in everything."""
    lines = [
        f"- {name}: {literal(cell.name)}, {_figures(cell, findings)}{_caution(cell, findings)}"
        for name, cell in picks(findings).items()
    ]
    return "\n".join([INTRODUCTION, "", *lines]) if lines else ""


def _figures(cell: CellSummary, findings: Findings) -> str:
    """mAP@0.5 at the end, time and peak."""
    expected = " expected" if cell.paused else ""
    parts = [f"mAP@0.5 {end_in_words(cell, findings)}{expected}", duration(cell.whole_s)]
    peak = f"peak {gib(cell.peak_gib)} GiB" if cell.peak_gib is not None else ""
    stopped = "" if cell.fits else f"stopped after {cell.trained} epochs"
    return ", ".join(text for text in (*parts, peak, stopped) if text)


def _caution(cell: CellSummary, findings: Findings) -> str:
    """What is known less well of the cell than of the recommended one."""
    winner = findings.recommended
    if winner is not None and winner.confirmed and not cell.confirmed:
        return f" ({count(len(cell.compared), 'run')}, not repeated with fresh seeds)"
    return ""
