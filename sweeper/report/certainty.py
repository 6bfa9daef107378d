"""How sure the answer is: how far the winner ends above the next best cell, if it does."""

from __future__ import annotations

import math
import statistics

from scipy.special import stdtrit

from sweeper.numbers import count, listed, score
from sweeper.report.cells import CellSummary
from sweeper.report.findings import Findings
from sweeper.report.markdown import literal
from sweeper.trial.field import MARGIN
from sweeper.trial.gap import Gap

FOUR_OF_FIVE = "4 times of 5"
STOPPED = (
    "Every other cell that fits was stopped on the way, expected to end behind it or no better "
    "and later; the comparison says which."
)
NAMED = 3  # cells of which nothing can be told; the others are counted
PAIRED = "95 %, seed by seed"


def certainty(findings: Findings) -> str:
    """Two or three sentences on how far the winner can be trusted; there must be one."""
    winner, rival = findings.winner, findings.rival
    assert winner is not None
    runs = _runs(winner)
    if rival is None:
        return f"{runs} {_alone(findings)}"
    gap, level = lead(findings, winner, rival)
    if gap is None:
        return f"{runs} {_uncompared(findings)}"
    said = _compare(gap, level, winner, rival)
    open_ = _others(findings, winner, rival, ", too" * unknown(gap))
    compared = f"{runs}{_before(findings, winner)} {said}{open_}"
    return f"{compared} {_remedy(winner)}" if findings.ended and unknown(gap) else compared


def lead(findings: Findings, winner: CellSummary, rival: CellSummary) -> tuple[Gap | None, str]:
    """How far the winner ends above another cell, and how sure that interval is."""
    paired = paired_gap(winner, rival)
    return (paired, PAIRED) if paired else (findings.leads.get(rival.name), FOUR_OF_FIVE)


def paired_gap(winner: CellSummary, rival: CellSummary) -> Gap | None:
    """The same by the seeds that both have run to the end: Student's t of the differences.

    The first runs of repeated cells are none of them. None with fewer than two seeds in common.
    """
    ours, theirs = _by_seed(winner), _by_seed(rival)
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if len(differences) < 2:
        return None
    mean, n = statistics.fmean(differences), len(differences)
    half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(n)
    return Gap(mean, mean - half, mean + half)


def _by_seed(cell: CellSummary) -> dict[int, float]:
    return {t.spec.seed: t.map50 for t in cell.compared if t.map50 is not None and not t.paused}


def _runs(cell: CellSummary) -> str:
    """What the winner's figures rest on."""
    runs = len(cell.compared)
    if cell.confirmed:
        seeds = count(runs, "fresh seed")
        return f"Figures of {seeds}; the run by which it was chosen is left out."
    return f"The mean of {runs} seeds." if runs > 1 else "One run with one seed."


def _alone(findings: Findings) -> str:
    others = [c for c in findings.cells if c is not findings.winner]
    if any(c.fits for c in others):
        return "No other cell was repeated with fresh seeds."
    if any(c.compared for c in others):
        return STOPPED
    return "No other cell completed to compare with."


def _uncompared(findings: Findings) -> str:
    """That of the cells which were trained as far nothing can be told yet."""
    others = [c.name for c in findings.contenders if c is not findings.winner]
    early = f"It is too early to tell how {literal(listed(others, NAMED))} will end."
    rest = [c for c in findings.cells if c.compared and c not in findings.contenders]
    return f"{early} {STOPPED}" if rest and not any(c.fits for c in rest) else early


def _before(findings: Findings, winner: CellSummary) -> str:
    """What was expected of a run that was finished, while the others were trained beside it."""
    known = findings.ends_at_rung.get(winner.name)
    if not findings.rung or winner.finished is None or winner.paused or known is None:
        return ""
    span = f"{score(known.map50)} ({score(known.low)} to {score(known.high)})"
    return (
        f" After {count(findings.rung, 'epoch')} {span} was expected of it; only as it stood then "
        "can it be compared."
    )


def _compare(gap: Gap, level: str, winner: CellSummary, rival: CellSummary) -> str:
    """One sentence, with the interval of the difference at the end."""
    name = f"{literal(rival.name)}{_time(winner, rival)}"
    span = f"difference {_span(gap)}, {level}"
    expected = "is expected to end" if winner.paused or rival.paused else "ended"
    if winner.finished and rival.paused and not winner.paused:
        expected = "was expected to end"
    points = f"{abs(100 * gap.expected):.1f} points {'above' if gap.expected >= 0 else 'below'}"
    side = f"{expected} {points} {name}"
    if gap.least >= -MARGIN and gap.most <= MARGIN:
        return f"It is as good as {name}, within {_margin()} ({span})."
    if gap.least > 0:
        return f"It {side}: better ({span})."
    if gap.most < 0:
        return f"It {side}: worse ({span})."
    if gap.least >= -MARGIN:
        return f"It is not worse than {name} by more than {_margin()} ({span})."
    return f"It {side}; which of the two ends higher is not known ({span})."


def unknown(gap: Gap) -> bool:
    """Whether it may be worse by more than the margin, as far as is known."""
    return gap.least < -MARGIN and gap.most >= 0


def _others(findings: Findings, winner: CellSummary, rival: CellSummary, too: str) -> str:
    """How many further cells may be better."""
    others = [c for c in findings.contenders if c not in (winner, rival)]
    gaps = (lead(findings, winner, c)[0] for c in others)
    open_ = sum(gap is not None and unknown(gap) for gap in gaps)
    return f" {count(open_, 'further cell')} may end higher{too}." if open_ else ""


def _remedy(winner: CellSummary) -> str:
    """What narrows the interval."""
    if not winner.confirmed:
        return "`study.confirm.top=2` with the same command repeats both with other seeds to tell."
    seeds = 2 * len(winner.compared)
    return f"`study.confirm.seeds={seeds}` with the same command adds seeds to tell."


def _time(winner: CellSummary, rival: CellSummary) -> str:
    """`` (1.56 times the time)``."""
    if not winner.whole_s or not rival.whole_s:
        return ""
    if winner.waited or rival.waited:
        return " (no ratio of times: the machine was busy)"
    return f" ({rival.whole_s / winner.whole_s:.2f} times the time)"


def _margin() -> str:
    return count(round(100 * MARGIN), "point")


def _span(gap: Gap) -> str:
    """``-0.5 to +2.9 points``."""
    low, high = (f"{100 * value:+.1f}" for value in (gap.least, gap.most))
    return f"{low} to {high} points"
