"""The winner's mAP@0.5 class by class, where its trial recorded it."""

from __future__ import annotations

from sweeper.numbers import count, score
from sweeper.report.findings import Findings
from sweeper.report.markdown import Table
from sweeper.trial.repeats import trial_in_words

MAX_CLASSES = 20


def classes(findings: Findings) -> Table:
    """A row per class, the worst first; empty where nothing is recommended, or recorded."""
    found = sorted(_found(findings).items(), key=lambda item: item[1])
    return Table(["class", "mAP@0.5"], [[n, score(value)] for n, value in found[:MAX_CLASSES]])


def classes_source(findings: Findings) -> str:
    """Where the figures come from, and how many of them there are."""
    winner, found = findings.recommended, _found(findings)
    if winner is None or winner.first.result is None:
        return ""
    trial, result = trial_in_words(winner.first.spec), winner.first.result
    of = f"The {MAX_CLASSES} worst of {count(len(found), 'class', 'classes')}"
    who = of if len(found) > MAX_CLASSES else "Every class that was validated"
    return f"{who}, the worst first: of {trial} in epoch {result.best_epoch}, its best so far."


def _found(findings: Findings) -> dict[str, float]:
    winner = findings.recommended
    return winner.first.result.class_map50 if winner and winner.first.result else {}
