"""Optuna's database: opened patiently, its failures explained."""

from __future__ import annotations

import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import optuna
from optuna.exceptions import OptunaError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from sweeper.errors import StudyError, first_line
from sweeper.passwords import without_password

STORAGE_FAULTS = (OSError, StorageInternalError, SQLAlchemyError)
SQLITE_PATIENCE_S = 60  # another process may hold the database for a while
SERVER_PATIENCE_S = 300.0  # a server may be started anew
RETRY_S = 2.0
OPENINGS = 3  # another process may make the tables of a new database at the same moment

T = TypeVar("T")


class _Storage(RDBStorage):
    """Optuna's, with its connections closed where it cannot be made."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        try:
            super().__init__(url, engine_kwargs=engine_kwargs)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


def open_storage(url: str, patience_s: float = SQLITE_PATIENCE_S) -> RDBStorage:
    """Connect to Optuna's database; SQLite waits so long for other processes, each time.

    Raises:
        StudyError: It cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the terminal belongs to the study
    server = {"pool_pre_ping": True}  # a connection may have been dropped while a trial trained
    local = {"connect_args": {"timeout": patience_s}}
    give_up_at = time.monotonic() + patience_s
    for left in reversed(range(OPENINGS)):
        try:
            storage = _Storage(url, server if is_server(url) else local)
        except (*STORAGE_FAULTS, ImportError) as error:  # ImportError: the database's driver
            if not left or time.monotonic() >= give_up_at:
                raise _no_answer(url, "cannot be opened", error) from error
            time.sleep(RETRY_S / OPENINGS)
        else:
            # Optuna leaves its connections open, of which Python 3.13 complains.
            weakref.finalize(storage, storage.engine.dispose)
            return storage
    raise AssertionError("the last opening returns or raises")


def is_server(url: str) -> bool:
    """Whether the database is a server, whose connections may drop."""
    return not url.startswith("sqlite")


def patiently(action: Callable[[], T], patience_s: float) -> T:
    """Do it again while the database is away, for so long; trials that run go on meanwhile."""
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return action()
        except STORAGE_FAULTS as error:
            if not _may_pass(error) or time.monotonic() >= give_up_at:
                raise
            time.sleep(RETRY_S)


def _may_pass(error: BaseException | None) -> bool:
    """Whether a database was not there, rather than unwilling."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError | OSError):
            return True
        error = error.__cause__
    return False


@contextmanager
def readable_reads(url: str) -> Iterator[None]:
    """Turn a storage that fails while it is read into a StudyError."""
    try:
        yield
    except STORAGE_FAULTS as error:
        raise _no_answer(url, "does not answer", error) from error


def _no_answer(url: str, what: str, error: BaseException) -> StudyError:
    said = f"study.storage={without_password(url)} {what}: {_cause(error)}"
    if "database is locked" in said:
        said += (
            f". Another process holds it; lsof {url.removeprefix('sqlite:///')} names it. "
            "End it or wait for it, then give the same command again."
        )
    return StudyError(said)


@contextmanager
def readable_faults() -> Iterator[None]:
    """Turn a failing storage or disk into a StudyError that says how to go on."""
    try:
        yield
    except STORAGE_FAULTS as error:
        raise StudyError(
            f"records cannot be written: {_cause(error)}. Finished trials are safe; mend it (disk "
            "space? another process on the database?) and give the same command again."
        ) from error
    except UpdateFinishedTrialError as error:
        raise StudyError(
            f"another process ends trials of this study: {first_line(error)} Give the same "
            "command again when that one has ended."
        ) from error


def _cause(error: BaseException) -> str:
    """The innermost message in one line: SQLAlchemy wraps the driver's."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def study_exists(name: str, storage: str) -> bool:
    """Whether a study of this name is stored."""
    return name in optuna.get_all_study_names(open_storage(storage))


def storage_fault(url: str) -> str:
    """What goes wrong when a study is written to ``url``; empty when nothing does.

    Creates a study and deletes it.
    """
    try:
        storage = open_storage(url)
        created = storage.create_new_study([StudyDirection.MAXIMIZE], f"doctor-{uuid.uuid4().hex}")
        storage.delete_study(created)
    except (StudyError, OptunaError, *STORAGE_FAULTS, ValueError) as error:
        return _cause(error)
    return ""
