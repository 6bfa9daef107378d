"""Tells crashes of a cell from those of the machine: the same reason, whatever the cell."""

from __future__ import annotations

import re

from sweeper.trial.record import Outcome, TrialResult, TrialSpec

ALIKE = 3


class Crashes:
    """Counts the trials in a row that crashed for the same reason."""

    def __init__(self) -> None:
        """None has crashed yet."""
        self._reason, self._count = "", 0

    def add(self, spec: TrialSpec, result: TrialResult) -> bool:
        """Take a trial in; whether it is the third in a row that crashed for one reason."""
        reason = _in_general(spec, result.reason) if result.outcome is Outcome.CRASHED else ""
        self._count = self._count + 1 if reason and reason == self._reason else bool(reason)
        self._reason = reason
        return self._count >= ALIKE


def _in_general(spec: TrialSpec, reason: str) -> str:
    """The reason without what differs from trial to trial: the cell, addresses, all numbers."""
    return re.sub(r"0x[0-9a-f]+|\d[\d.,]*", "#", reason.replace(spec.label, ""))
