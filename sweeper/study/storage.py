"""Optuna's database: opened patiently, its failures explained."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import OptunaError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError

from sweeper.errors import StudyError, first_line

STORAGE_FAULTS = (OSError, StorageInternalError, SQLAlchemyError)
SQLITE_PATIENCE_S = 60  # another process may hold the database for a while


def open_storage(url: str) -> RDBStorage:
    """Connect to Optuna's database; SQLite waits for other processes.

    Raises:
        StudyError: It cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the terminal belongs to the study
    arguments = {"connect_args": {"timeout": SQLITE_PATIENCE_S}} if "sqlite" in url else {}
    try:
        return RDBStorage(url, engine_kwargs=arguments)
    except (*STORAGE_FAULTS, ImportError) as error:  # ImportError: the database's driver
        raise StudyError(f"study.storage={url} cannot be opened: {_cause(error)}") from error


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
