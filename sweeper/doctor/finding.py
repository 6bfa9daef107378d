"""What one check found, as a record, a line of text, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sweeper.str_enum import StrEnum


class Level(StrEnum):
    """How much a finding matters: a failure stops a study."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor.

    Attributes:
        check: What was looked at.
        level: How much it matters.
        text: What was found, with the first of many names.
        remedy: What to do; empty when there is nothing to do.
        names: All files or faults that the text is about, where it may leave some out.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""
    names: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The finding for a terminal: one line, unless its text has several."""
        do = self.remedy
        if not all(name in self.text for name in self.names):
            do = f"{do} --json lists all {len(self.names):,}.".lstrip()
        remedy = ("\n  " if "\n" in self.text else " ") + do if do else ""
        line = f"{self.level.value:<8} {self.check:<12} {self.text}{remedy}"
        return line.encode("utf-8", "backslashreplace").decode()  # of names that are not UTF-8


def ok(check: str, text: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, remedy: str, names: Sequence[str] = ()) -> Finding:
    """A check that found something a person should know."""
    return Finding(check, Level.WARNING, text, remedy, tuple(names))


def failure(check: str, text: str, remedy: str, names: Sequence[str] = ()) -> Finding:
    """A check that found what would end or spoil the study."""
    return Finding(check, Level.FAILURE, text, remedy, tuple(names))


def failures(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that must stop a study."""
    return [f for f in findings if f.level is Level.FAILURE]


def as_json(findings: Sequence[Finding]) -> str:
    """The findings as one JSON document."""
    rows = [asdict(f) for f in findings]
    return json.dumps({"ok": not failures(findings), "findings": rows}, indent=2)
