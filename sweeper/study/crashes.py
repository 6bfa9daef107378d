"""Tells what befalls a cell from what befalls the machine: the same, whatever the cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import RecordedTrial

ALIKE = 3
_ALL_ALIKE = f"{ALIKE} trials in a row crashed for the same reason, so the study has stopped:"
_NOTHING_ELSE = "every trial that ran has crashed, the last one with:"
_CRASHED = """\
{what}
  {reason}
  log: {log}
Mend it and give the same command again: it runs crashed trials again."""
_DISTURBED = """\
other processes on the GPU have disturbed trials, so the study is not at its end:
  {reason}
  log: {log}
End them and give the same command again: it runs disturbed trials again."""


class Crashes:
    """Counts the trials in a row that ended for the same reason, which says nothing of a cell."""

    def __init__(self) -> None:
        """None has ended so yet."""
        self._reason, self._count = "", 0

    def add(self, spec: TrialSpec, result: TrialResult) -> bool:
        """Take a trial in; whether it is the third in a row that ended for one such reason."""
        reason = _in_general(spec, result)
        self._count = self._count + 1 if reason and reason == self._reason else bool(reason)
        self._reason = reason
        return self._count >= ALIKE


def fault(result: TrialResult, log: Path) -> str:
    """What a person must mend where trials crash, or are disturbed."""
    words = _DISTURBED if result.outcome is Outcome.DISTURBED else _CRASHED
    return words.format(what=_ALL_ALIKE, reason=result.reason, log=log)


def nothing_but_crashes(trials: Sequence[RecordedTrial], folder: StudyFolder) -> str:
    """What a person must mend where no trial came to anything but a crash; else empty.

    Those that were interrupted, and those that do not fit, are left out.
    """
    told = [t for t in trials if t.outcome not in {None, Outcome.INTERRUPTED} and not t.infeasible]
    if not told or any(t.outcome is not Outcome.CRASHED for t in told):
        return ""
    last = told[-1]
    log = folder.trial(last.number).log
    return _CRASHED.format(what=_NOTHING_ELSE, reason=last.reason, log=log)


def _in_general(spec: TrialSpec, result: TrialResult) -> str:
    """The reason without what differs from trial to trial: the cell, addresses, all numbers.

    Empty where the outcome is the cell's. What other processes do looks different to each trial.
    """
    if result.outcome is Outcome.DISTURBED:
        return str(result.outcome)
    if result.outcome is not Outcome.CRASHED:
        return ""
    return re.sub(r"0x[0-9a-f]+|\d[\d.,]*", "#", result.reason.replace(spec.label, ""))
