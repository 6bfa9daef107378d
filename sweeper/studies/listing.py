"""What studies there are, how far each is and what it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import StudyError
from sweeper.numbers import NOTHING, count, limit, size
from sweeper.passwords import without_password
from sweeper.report.answer import plain_answer, short_answer
from sweeper.report.findings import Findings
from sweeper.study.driver import Driver
from sweeper.study.stored import StoredStudies
from sweeper.trial.command import tool_command
from sweeper.trial.folder import TrialFolder
from sweeper.trial.spec import SINGLE
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import StudyRecord, StudyStatus

HEADER = ("study", "started", "state", "cells done", "answer", "disk")
DEMO = "python -m sweeper -m experiment=demo"
SHOW = "one of them: python -m sweeper.studies study.name=NAME; remove it: studies.remove=true"


@dataclass(frozen=True, slots=True)
class Entry:
    """One study under ``runs_dir``.

    Attributes:
        folder: Its folder.
        record: What it was asked.
        findings: What its trials have come to.
        drivers: Who runs it now; None where the storage does not know it.
    """

    folder: StudyFolder
    record: StudyRecord
    findings: Findings
    drivers: list[Driver] | None

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``stopped``, or ``cut off`` where its driver has died."""
        if self.drivers:
            return "running"
        if self.record.status is StudyStatus.RUNNING:
            return "unknown" if self.drivers is None else "cut off"
        return "finished" if self.record.status is StudyStatus.FINISHED else "stopped"

    @property
    def cells(self) -> str:
        """``20 of 24``: cells that are decided, of all that were asked for."""
        known = self.findings.cells
        ends = [outcome for cell in known if (outcome := cell.first.outcome) is not None]
        done = sum(not outcome.runs_again for outcome in ends)
        return f"{done} of {max(self.record.n_trials or 0, len(known))}"

    @property
    def disk(self) -> str:
        """What its folder takes."""
        return _disk(self.folder)


def find_study(settings: Settings, name: str) -> tuple[StudyFolder, StudyRecord]:
    """The folder and the record of a study.

    Raises:
        StudyError: There is none of this name under ``runs_dir``, or it cannot be read.
    """
    folder = StudyFolder(Path(settings.runs_dir) / name)
    record = folder.read()
    if record is None:
        meant = StudyFolder.meant(Path(settings.runs_dir), name)
        raise StudyError(
            f"study.name={name} is not under runs_dir={settings.runs_dir}.{meant} python -m "
            "sweeper.studies lists those that are; give another runs_dir for others."
        )
    return folder, record


def list_studies(settings: Settings) -> list[str]:
    """A table of all studies, the latest last, and what does not belong to one.

    Raises:
        StudyError: The storage does not answer.
    """
    runs = Path(settings.runs_dir)
    stored = StoredStudies(settings.storage_url)
    entries, unreadable = [], []
    for folder in StudyFolder.all_of(runs):
        if folder.path.name == SINGLE:
            continue
        try:
            record = folder.read()
        except StudyError as error:
            unreadable.append(str(error))
            continue
        if record is not None:
            entries.append(_entry(folder, record, stored))
    besides = [*unreadable, *_single_runs(StudyFolder(runs / SINGLE))]
    if not entries:
        return [*besides, f"no study under runs_dir={runs}. One to begin with: {DEMO}"]
    entries.sort(key=lambda entry: entry.record.last_started)
    rows = [
        (
            e.record.name,
            _date(e.record.started),
            e.state,
            e.cells,
            short_answer(e.findings),
            e.disk,
        )
        for e in entries
    ]
    return [*_aligned([HEADER, *rows]), "", *besides, SHOW]


def _single_runs(folder: StudyFolder) -> Iterator[str]:
    """A line on the runs of ``python -m sweeper`` without ``-m``, which are no study."""
    if runs := len(list(TrialFolder.all_of(folder.trials))):
        yield (
            f"{count(runs, 'single run')} without a study: {folder.path}, {_disk(folder)}; "
            "who wants to remove them deletes that folder"
        )


def show_study(settings: Settings, name: str) -> list[str]:
    """All that is to be known of one study before it is resumed, reported on or removed."""
    entry = _entry(*find_study(settings, name), StoredStudies(settings.storage_url))
    return [*_facts(entry, settings), "", plain_answer(entry.findings)]


def _facts(entry: Entry, settings: Settings) -> Iterator[str]:
    record = entry.record
    who = ", ".join(driver.who for driver in entry.drivers or ())
    unknown = f"study.storage={without_password(settings.storage_url)} does not know it"
    resumed = record.last_started > record.started
    again = f", last resumed {_date(record.last_started)}" * resumed
    facts = {
        "study": record.name,
        "started": f"{_date(record.started)}{again}",
        "state": f"{entry.state}{f' by {who}' * bool(who)}",
        "cells done": entry.cells,
        "space": record.space or "",
        "budget": f"{limit(record.limit_gib)} GiB",
        "folder": f"{entry.folder.path}, {entry.disk}",
        "Optuna": without_password(settings.storage_url) if entry.drivers is not None else unknown,
        "MLflow": f"{without_password(record.tracking_uri)}, experiment {record.experiment}",
        "machine": record.machine,
        "resume": record.command or "",
        "report": tool_command("sweeper.report", f"study.name={record.name}", *settings.elsewhere),
    }
    width = max(map(len, facts))
    return (f"{key.ljust(width)}  {text}" for key, text in facts.items() if text)


def _entry(folder: StudyFolder, record: StudyRecord, stored: StoredStudies) -> Entry:
    findings = Findings(folder.read_with_trials(record))
    return Entry(folder, record, findings, stored.drivers(record))


def _disk(folder: StudyFolder) -> str:
    files = (file for file in folder.path.rglob("*") if file.is_file())
    return size(sum(file.lstat().st_size for file in files))


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else NOTHING


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
