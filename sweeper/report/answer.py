"""The answer first: one sentence, or why there is none and what to do."""

from __future__ import annotations

import shlex

from sweeper.numbers import count, duration, gib, limit, score
from sweeper.report.cells import CellSummary
from sweeper.report.certainty import certainty
from sweeper.report.findings import LEAST_MAP50, Findings
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.study_record import StudyStatus

# There is something to mend.
BROKEN = {Outcome.CRASHED, Outcome.DIVERGED, Outcome.TIMEOUT, Outcome.AMP_REFUSED}


def answer(findings: Findings) -> str:
    """The first paragraph of the report, in markdown."""
    return " ".join(s for s in (_answer(findings), standing(findings)) if s)


def _answer(findings: Findings) -> str:
    winner, tally = findings.winner, findings.tally
    if winner is not None and findings.recommended is None:
        return (
            "**No recommendation: the best cell detects nothing yet**, its mAP@0.5 is below "
            f"{LEAST_MAP50}. Train longer, e.g. with more train.epochs. The "
            "fastest that fits is "
            f"{cell_in_words(winner)}: {_costs(winner, findings)}."
        )
    if winner is not None:
        return (
            f"**Use {cell_in_words(winner)}**: {_costs(winner, findings)}. {certainty(findings)}"
        )
    if not tally.trials:
        return f"**No trial has run yet.** Start them: `{command(findings)}`"
    if tally.infeasible and tally.infeasible == tally.trials - tally.running:
        return _nothing_fits(findings)
    broken = any(trial.outcome in BROKEN for trial in findings.trials)
    if tally.running or (findings.study.status is StudyStatus.KILLED and not broken):
        return "**No answer yet: no trial has completed.**"
    return (
        "**No answer: no trial completed.** The reasons are below; mend them and run again: "
        f"`{command(findings)}`"
    )


def cell_in_words(cell: CellSummary) -> str:
    """``batch 4 × accumulate 4, amp on``."""
    spec = cell.spec
    words = f"batch {spec.batch} × accumulate {spec.accumulate}, amp {'on' if spec.amp else 'off'}"
    extra = cell.name.removeprefix(spec.label).strip()
    return f"{words} ({extra})" if extra else words


def command(findings: Findings) -> str:
    """The command that runs the study."""
    default = shlex.join(["python", "-m", "sweeper", "-m", f"study.name={findings.study.name}"])
    return findings.study.command or default


def standing(findings: Findings) -> str:
    """How far the study is, when that matters to the reader; else empty."""
    study, tally = findings.study, findings.tally
    of_all = f"{tally.asked} of {study.n_trials}" if study.n_trials else str(tally.asked)
    if study.status is StudyStatus.KILLED:
        return f"*The study was stopped: {of_all} trials done. The same command continues it.*"
    if study.status is StudyStatus.RUNNING or tally.running:
        return f"*The study has not ended: {of_all} trials done, {tally.running} running.*"
    if tally.failed:
        return f"*{count(tally.failed, 'trial')} of {tally.trials} failed; the reasons are below.*"
    return ""


def _costs(cell: CellSummary, findings: Findings) -> str:
    """``peak 12.1 GiB of the budget's 23.7 (51 %, simulated), mAP@0.5 0.423, 3 h 42 min``."""
    parts = []
    if cell.peak_gib is not None:
        parts.append(_peak(cell.peak_gib, findings.limit_gib, cell.first.vram_source))
    result = cell.first.result
    if result is not None and result.paused:
        return ", ".join([*parts, _prospect(cell, result, findings)])
    parts.append(f"mAP@0.5 {score(cell.map50)}")
    parts.append(f"{duration(cell.wall_time_s)} for {count(cell.spec.epochs, 'epoch')}")
    return ", ".join(parts)


def _prospect(cell: CellSummary, result: TrialResult, findings: Findings) -> str:
    """How far it was trained, and what to expect of the whole run."""
    seen = f"mAP@0.5 {score(result.map50)} after {cell.first.trained} epochs"
    end = findings.outlooks.get(cell.first.number)
    if end is not None:
        expected = f"{score(end.map50)} ({score(end.low)} to {score(end.high)})"
        seen += f" and {expected} expected at the end"
    if result.epoch_s is None:
        return seen
    return f"{seen}, {duration(cell.spec.epochs * result.epoch_s)} for the whole run"


def _peak(peak_gib: float, limit_gib: float, source: str | None) -> str:
    share = 100 * peak_gib / limit_gib
    return f"peak {gib(peak_gib)} GiB of {limit(limit_gib)} ({share:.0f} %, {source})"


def _nothing_fits(findings: Findings) -> str:
    """Say what comes closest, where it is known."""
    known = [c for c in findings.infeasible if c.need_gib is not None]
    least = min(known, key=lambda c: c.need_gib or 0.0, default=None)
    closest = ""
    if least is not None:
        closest = f" The smallest, {least.name}, needs {gib(least.need_gib)} GiB."
    so_far = " so far" if findings.tally.running else ""
    return (
        f"**Nothing fits {limit(findings.limit_gib)} GiB{so_far}.**{closest} Try a smaller "
        "batch, train.imgsz or model, amp=true, or a card with more memory."
    )
