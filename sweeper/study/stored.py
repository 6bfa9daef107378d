"""Studies in Optuna's storage as others see them: who runs one, and its removal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import optuna

from sweeper.errors import StudyError
from sweeper.passwords import without_password
from sweeper.study.driver import Driver
from sweeper.study.lease import Lease, study_lease
from sweeper.study.optuna_study import ID
from sweeper.study.storage import open_storage, readable_faults, readable_reads
from sweeper.trial.study_record import StudyRecord, StudyStatus

PATIENCE_S = 10.0  # with SQLite: a study that runs holds it for moments


class StoredStudies:
    """The studies of one storage; a database that is not there yet holds none."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            StudyError: The storage cannot be opened or read.
        """
        self._url = url
        file = url.removeprefix("sqlite:///")
        missing = file != url and not Path(file).exists()  # Optuna would create it
        self._storage = None if missing else open_storage(url, PATIENCE_S)
        with readable_reads(url):
            self._names = (
                set(optuna.get_all_study_names(self._storage)) if self._storage else set()
            )

    def drivers(self, record: StudyRecord) -> list[Driver] | None:
        """Who runs a study now; None where this storage does not know it.

        Raises:
            StudyError: The storage does not answer.
        """
        with readable_reads(self._url):
            study = self._find(record)
            if study is None or self._storage is None:
                return None
            return Lease(study, self._storage).find_others()

    @contextmanager
    def held(self, record: StudyRecord) -> Iterator[None]:
        """Keep every driver from a study meanwhile.

        Raises:
            StudyError: It is being run, or may be; or the storage does not answer.
        """
        drivers = self.drivers(record)
        if drivers:
            who = " and by ".join(driver.who for driver in drivers)
            raise StudyError(f"study.name={record.name} is being run by {who}. Stop it first.")
        if drivers is None and record.status is StudyStatus.RUNNING:
            raise StudyError(
                f"study.name={record.name} was running when last heard of, and study.storage="
                f"{without_password(self._url)} does not know it. Give the study.storage that it "
                "was run with."
            )
        if drivers is None:
            yield
            return
        with ExitStack() as held:
            with readable_reads(self._url):
                held.enter_context(study_lease(record.name, self._url))
            yield

    def remove(self, record: StudyRecord) -> bool:
        """Delete a study that is held; False where the storage does not know it.

        Raises:
            StudyError: The storage does not answer.
        """
        with readable_faults():
            if self._find(record) is None or self._storage is None:
                return False
            optuna.delete_study(study_name=record.name, storage=self._storage)
        return True

    def _find(self, record: StudyRecord) -> optuna.Study | None:
        """The study of this record, and no other one of its name."""
        if record.name not in self._names or self._storage is None:
            return None
        study = optuna.load_study(study_name=record.name, storage=self._storage)
        return study if study.user_attrs.get(ID, "") == record.id else None
