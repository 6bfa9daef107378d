"""A study's folder: its own record, its trials and what was made of its winner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.meant import meant
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json, write_json
from sweeper.trial.study_record import (
    DeploymentRecord,
    RecordedStudy,
    RecordedTrial,
    StudyRecord,
    StudyStatus,
)


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of one study under ``runs_dir``."""

    path: Path

    @classmethod
    def all_of(cls, runs: Path) -> Iterator[StudyFolder]:
        """Every folder that has a study's record."""
        return (cls(path.parent) for path in sorted(runs.glob("*/study.json")))

    @classmethod
    def meant(cls, runs: Path, name: str) -> str:
        """What to ask someone who typed the name of no study; empty where none is like it."""
        return meant(name, [folder.path.name for folder in cls.all_of(runs)], "study.name=")

    @property
    def trials(self) -> Path:
        """Where the trial folders are."""
        return self.path / "trials"

    @property
    def deployment(self) -> Path:
        """Where the exports of the winner are, with their table."""
        return self.path / "deploy"

    @property
    def has_trials(self) -> bool:
        """Whether a trial was ever prepared here."""
        return next(TrialFolder.all_of(self.trials), None) is not None

    def trial(self, number: int) -> TrialFolder:
        """The folder of a trial."""
        return TrialFolder.of(self.trials, number)

    def write_start(self, record: StudyRecord) -> StudyRecord:
        """Write the record of a study that starts, and return it as written.

        A study that is resumed keeps the time of its first start.
        """
        earlier = self.read()
        if earlier is not None:
            record = replace(record, started=earlier.started)
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self._record, record)
        return record

    def write_end(self, status: StudyStatus) -> None:
        """Write how the study ended."""
        record = self.read()
        if record is not None:
            write_json(self._record, replace(record, status=status))

    def read(self) -> StudyRecord | None:
        """The study's record; None where there is none, as before version 0.2.

        Raises:
            StudyError: It cannot be read.
        """
        try:
            text = self._record.read_text()
        except FileNotFoundError:
            return None
        return from_json(StudyRecord, text, str(self._record))

    def read_with_trials(self, study: StudyRecord) -> RecordedStudy:
        """The study with the trials of this folder; those that cannot be read are only named."""
        deployed = self._read_deployment()
        trials: list[RecordedTrial] = []
        unreadable: list[str] = []
        for folder in TrialFolder.all_of(self.trials):
            try:
                trials.append(_read_trial(folder, deployed))
            except StudyError:
                unreadable.append(str(folder.path))
        return RecordedStudy(study, tuple(trials), tuple(unreadable))

    def _read_deployment(self) -> DeploymentRecord | None:
        file = self.deployment / "deploy.json"
        with suppress(FileNotFoundError, StudyError):  # without its table the report is complete
            return from_json(DeploymentRecord, file.read_text(), str(file))
        return None

    @property
    def _record(self) -> Path:
        return self.path / "study.json"


def _read_trial(folder: TrialFolder, deployed: DeploymentRecord | None) -> RecordedTrial:
    own = deployed if deployed and deployed.trial == folder.number else None
    result = folder.read_result()
    part = folder.read_part() if result is None else None
    return RecordedTrial(folder.read_spec(), result, folder.read_run_id() or None, own, part)
