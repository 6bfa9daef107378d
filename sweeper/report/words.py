"""How the figures of a cell read, in sentences and in tables."""

from __future__ import annotations

from sweeper.numbers import NOTHING, count, duration, gib, limit, score
from sweeper.report.cells import CellSummary
from sweeper.report.findings import LEAST_MAP50, Findings
from sweeper.report.markdown import bold, literal
from sweeper.trial.levers import pulled
from sweeper.trial.record import Outcome
from sweeper.trial.spec import AMP_WORDS
from sweeper.trial.study_record import WAITS, RecordedTrial, StudyStatus


def cell_in_words(cell: CellSummary) -> str:
    """``batch 4 × accumulate 4, amp on, checkpoint all``."""
    spec = cell.spec
    words = f"batch {spec.batch} × accumulate {spec.accumulate}, amp {AMP_WORDS[spec.amp]}"
    words = ", ".join([words, *(f"{name} {value}" for name, value in pulled(spec).items())])
    extra = cell.name.removeprefix(spec.label).strip()
    return literal(f"{words} ({extra})" if extra else words)


def end_in_words(cell: CellSummary, findings: Findings) -> str:
    """mAP@0.5 at the end: ``0.957 (0.856 to 0.987)``, of several whole runs ``0.423 ± 0.006``."""
    if cell.compared and not cell.paused and len(cell.compared) > 1:
        return score(cell.map50, cell.map50_deviation)
    known = findings.ends.get(cell.name)
    if known is None:
        return NOTHING
    return f"{score(findings.end(cell))} ({score(known.low)} to {score(known.high)})"


def peak_in_words(cell: CellSummary, findings: Findings) -> str:
    """``peak 12.1 GiB of 23.65 (51 %, simulated)``; empty where it is not known."""
    if cell.peak_gib is None:
        return ""
    share = 100 * cell.peak_gib / findings.limit_gib
    source = cell.first.vram_source
    return (
        f"peak {gib(cell.peak_gib)} GiB of {limit(findings.limit_gib)} ({share:.0f} %, {source})"
    )


def headroom_in_words(cell: CellSummary, findings: Findings) -> str:
    """``11.6 GiB (49 %)``: what the budget leaves free."""
    left = cell.headroom_gib
    if left is None:
        return "does not fit" if cell.infeasible else NOTHING
    return f"{gib(left)} GiB ({100 * left / findings.limit_gib:.0f} %)"


def costs(cell: CellSummary, findings: Findings) -> str:
    """Peak, mAP@0.5 and time of the whole run, and how far they are extrapolated."""
    time = f"{duration(cell.whole_s)} for "
    if cell.paused:
        seen = f"mAP@0.5 {score(cell.map50)} after {cell.trained} epochs"
        if cell.name in findings.ends:
            seen += f" and {end_in_words(cell, findings)} expected at the end"
        if cell.finished:
            seen += f", {score(cell.finished.map50)} reached there by the run that was finished"
        time += "the whole run"
    else:
        seen = f"mAP@0.5 {end_in_words(cell, findings)}"
        time += count(cell.spec.epochs, "epoch")
    return ", ".join(text for text in (peak_in_words(cell, findings), seen, time) if text)


def verdict(cell: CellSummary, findings: Findings) -> str:
    """What became of a cell: recommended, or why it is not."""
    if cell is findings.recommended:
        return bold("recommended" if findings.ended else "leads so far")
    if cell.infeasible:
        return "does not fit"
    reason = reason_of(cell.first, cell, findings)
    if cell.compared:
        return reason
    if cell.first.waits and findings.study.status is StudyStatus.KILLED:
        seen = cell.first.at_rung
        return f"{WAITS} after {seen.trained} epochs, mAP@0.5 {score(seen.map50)} there"
    state = cell.state.replace("_", " ")
    by = cell.first.implied_by
    if by is not None and by in findings.by_number:  # the reason stands with the trials
        return f"{state} by {findings.cell_of(by).name}"
    return f"{state}: {reason}" if reason else state


def passed(cell: CellSummary, findings: Findings) -> str:
    """Why a cell that could be recommended is not."""
    if cell is findings.winner:
        best = max(c.map50 or 0.0 for c in findings.contenders)
        return "too early to tell" if best >= LEAST_MAP50 else "detects nothing yet"
    if cell not in findings.contenders:
        return "not repeated with fresh seeds"
    return findings.choice.passed.get(cell.name, "") if findings.choice else ""


def reason_of(trial: RecordedTrial, cell: CellSummary, findings: Findings) -> str:
    """Why a trial ended where it did, and what to trust less about it."""
    if trial.outcome is not Outcome.COMPLETE:
        return trial.reason
    if trial.map50 is None:
        return "without a mAP@0.5"
    if trial.spec.confirms is not None:
        return f"repeats trial {trial.spec.confirms}"
    if not cell.fits:
        return "does not fit with another seed"
    if cell is not findings.recommended:
        return passed(cell, findings)
    return "recommended" if findings.ended else "leads so far"
