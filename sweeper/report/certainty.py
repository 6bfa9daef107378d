"""How sure the answer is: the winner's lead against the noise between seeds."""

from __future__ import annotations

import math

from scipy.special import stdtrit

from sweeper.numbers import score
from sweeper.report.cells import CellSummary
from sweeper.report.findings import Findings


def certainty(findings: Findings) -> str:
    """One or two sentences on how far the winner can be trusted; there must be one."""
    winner, rival = findings.winner, findings.rival
    assert winner is not None
    if findings.in_parts and winner.map50_deviation is None:
        return _over_parts(winner, rival)
    if rival is None:
        return f"{_runs(winner)} No other cell completed to compare with."
    lead = 100 * ((winner.map50 or 0.0) - (rival.map50 or 0.0))
    margin = margin_points(winner, rival)
    if margin is None and len(winner.complete) > 1:
        side = "behind" if lead >= 0 else "ahead"
        return (
            f"{_runs(winner)} {rival.name}, {abs(lead):.1f} points {side}, was not repeated: one "
            "run with one seed."
        )
    if margin is None:
        return (
            f"{_runs(winner)} {rival.name} is {lead:.1f} points behind, and a difference between "
            "single runs can be noise."
        )
    lead_of = f"{_runs(winner)} Its lead of {lead:.1f} points over {rival.name} ({_seeds(rival)})"
    if lead > margin:
        verdict = f"is larger than the noise (95 %: ±{margin:.1f})."
    else:
        verdict = f"is within the noise (95 %: ±{margin:.1f}): the two cannot be told apart."
    return f"{lead_of} {verdict}{_ahead(findings)}"


def _over_parts(winner: CellSummary, rival: CellSummary | None) -> str:
    """What the verdict of the rungs rests on."""
    if rival is None:
        return (
            "One seed. Every other cell that fits was expected to end behind it, or no better and "
            "later; the table of trials says which."
        )
    ours, theirs = winner.first.result, rival.first.result
    times = ""
    if ours and theirs and ours.epoch_s and theirs.epoch_s:
        times = f", whose whole run takes {theirs.epoch_s / ours.epoch_s:.2f} times as long"
    return f"One seed. Its end cannot be told from that of {rival.name}{times}, or is above it."


def _ahead(findings: Findings) -> str:
    """The best cell, where it is not the winner because one run does not confirm it."""
    best, winner = findings.ranked[0], findings.winner
    if winner is None or best is winner:
        return ""
    points = 100 * ((best.map50 or 0.0) - (winner.map50 or 0.0))
    return f" {best.name} stands {points:.1f} points higher in a single run that was not repeated."


def margin_points(one: CellSummary, other: CellSummary) -> float | None:
    """Half the 95 % interval of the difference of two cells' mean mAP@0.5, points.

    Student's t with pooled variance; None unless both cells have at least two seeds.
    """
    if one.map50_deviation is None or other.map50_deviation is None:
        return None
    n, m = len(one.complete), len(other.complete)
    freedom = n + m - 2
    squares = (n - 1) * one.map50_deviation**2 + (m - 1) * other.map50_deviation**2
    quantile = float(stdtrit(freedom, 0.975))
    return 100 * quantile * math.sqrt(squares / freedom * (1 / n + 1 / m))


def _runs(cell: CellSummary) -> str:
    if cell.map50_deviation is None:
        return "One run with one seed."
    return f"The mean of {_seeds(cell)}: {score(cell.map50, cell.map50_deviation)}."


def _seeds(cell: CellSummary) -> str:
    count = len(cell.complete)
    return f"{count} seed{'s' if count != 1 else ''}"
