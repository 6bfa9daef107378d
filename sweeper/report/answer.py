"""The answer first: one sentence, or why there is none and what to do; then its grounds."""

from __future__ import annotations

import re

from sweeper.numbers import count, gib, limit, score
from sweeper.report.cells import CellSummary
from sweeper.report.certainty import certainty
from sweeper.report.findings import LEAST_MAP50, Findings
from sweeper.report.markdown import literal, plain, verbatim
from sweeper.report.picks import left_out, picks_in_words
from sweeper.report.price import prices_in_words
from sweeper.report.words import cell_in_words, costs, end_in_words
from sweeper.trial.command import tool_command
from sweeper.trial.record import Outcome
from sweeper.trial.study_record import StudyStatus

# There is something to mend.
BROKEN = {
    *(Outcome.CRASHED, Outcome.DIVERGED, Outcome.TIMEOUT),
    *(Outcome.AMP_REFUSED, Outcome.DISTURBED),
}


def answer(findings: Findings) -> str:
    """What a terminal shows, in markdown: a paragraph, what else one may take, and what not."""
    said = verdict(findings)
    between = "\n\n" if said.endswith("`") else " "  # a command shall end where its line does
    first = between.join(s for s in (said, grounds(findings)) if s)
    return "\n\n".join(
        text for text in (first, picks_in_words(findings), left_out(findings)) if text
    )


def plain_answer(findings: Findings) -> str:
    """The same as plain text."""
    return plain(answer(findings))


def short_answer(findings: Findings) -> str:
    """A few words for a list of studies."""
    best = findings.recommended
    if best is not None:
        return f"{best.name}, mAP@0.5 {end_in_words(best, findings)}"
    bold = re.search(r"\*\*(.+?)[.:]?\*\*", verdict(findings))
    return bold[1] if bold else ""


def grounds(findings: Findings) -> str:
    """How sure the verdict is, what the levers buy, and how far the study is; may be empty."""
    sure = certainty(findings) if findings.recommended is not None else ""
    price = prices_in_words(findings.cells)
    return " ".join(text for text in (sure, price, standing(findings)) if text)


def verdict(findings: Findings) -> str:
    """The answer in one sentence, or why there is none and what to do."""
    winner, tally = findings.winner, findings.tally
    if winner is not None and findings.recommended is None:
        remedy = f" {_longer(winner)}" if findings.ended else ""
        return f"{_too_early(findings)}{remedy}"
    if winner is not None:
        cell = cell_in_words(winner)
        said = f"Use {cell}" if findings.ended else _so_far(findings, cell)
        return f"**{said}**: {costs(winner, findings)}."
    if not tally.trials:
        return f"**No trial has run yet.** Start them: {verbatim(command(findings))}"
    if tally.infeasible and tally.infeasible == tally.trials:
        return _nothing_fits(findings)
    broken = any(trial.outcome in BROKEN for trial in findings.trials)
    if tally.running or (findings.study.status is StudyStatus.KILLED and not broken):
        return "**No answer yet: no trial has completed.**"
    if not any(t.outcome is not None and t.outcome.runs_again for t in findings.trials):
        return "**No answer: no trial completed.** The reasons are below, with what to change."
    return (
        "**No answer: no trial completed.** The reasons are below; mend them and run again: "
        f"{verbatim(command(findings))}"
    )


def _longer(winner: CellSummary) -> str:
    """What to do about cells that have not learnt enough."""
    if not winner.paused:
        return "Train longer, e.g. with more train.epochs and another study.name."
    return (
        f"Only {winner.trained} epochs were trained. Train longer, under another study.name: each "
        "cell to its end with study.rungs=[], or with more train.epochs."
    )


def _too_early(findings: Findings) -> str:
    """That the cell chosen has not begun to detect, and whether another one has."""
    best = max(findings.contenders, key=lambda c: c.map50 or 0.0)
    if (best.map50 or 0.0) < LEAST_MAP50:
        return (
            "**No recommendation: the best cell detects nothing yet**, its mAP@0.5 is below "
            f"{LEAST_MAP50}."
        )
    return (
        "**No recommendation: it is too early to tell the cells apart**, mAP@0.5 is "
        f"{score(best.map50)} at best so far ({literal(best.name)})."
    )


def _so_far(findings: Findings, cell: str) -> str:
    """What is known before the study has ended."""
    complete = len(findings.ranked)
    if complete == 1:
        return f"No answer yet; the only cell that has completed is {cell}"
    return f"No answer yet; of the {complete} cells that have completed, {cell} leads"


def command(findings: Findings) -> str:
    """The command that runs the study."""
    default = tool_command("sweeper", "-m", f"study.name={findings.study.name}")
    return findings.study.command or default


def standing(findings: Findings) -> str:
    """How far the study is, when that matters to the reader; else empty."""
    study, tally = findings.study, findings.tally
    of_all = f"{tally.asked} of {study.n_trials}" if study.n_trials else str(tally.asked)
    done = f"{of_all} trials done"
    if tally.decided:
        done += f", {count(tally.decided, 'more cell')} decided by them"
    if study.status is StudyStatus.KILLED:
        if waiting := sum(t.waits for t in findings.trials):
            done += f", {waiting} more {'wait' if waiting > 1 else 'waits'} at a rung"
        if tally.interrupted:
            done += f", {tally.interrupted} interrupted"
        return f"*The study was stopped: {done}. The same command continues it.*"
    if study.status is StudyStatus.RUNNING or tally.running:
        return f"*The study has not ended: {done}, {tally.running} running.*"
    parts = {"failed": tally.failed, "interrupted": tally.interrupted}
    known = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
    return f"*Of {count(tally.trials, 'trial')}: {known}; the reasons are below.*" if known else ""


def _nothing_fits(findings: Findings) -> str:
    """Say what comes closest, where it is known."""
    known = [c for c in findings.infeasible if c.need_gib is not None]
    least = min(known, key=lambda c: c.need_gib or 0.0, default=None)
    closest = ""
    if least is not None:
        closest = f" The smallest, {literal(least.name)}, needs {gib(least.need_gib)} GiB."
    return (
        f"**Nothing fits {limit(findings.limit_gib)} GiB.**{closest} Try a smaller "
        "batch, train.imgsz or model, amp=true, memory.checkpoint=all, or a card with more memory."
    )
