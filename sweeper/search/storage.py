"""Whether Optuna's storage takes a study, by creating one and deleting it."""

from __future__ import annotations

import uuid

import optuna
from optuna.exceptions import OptunaError
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError


def storage_fault(url: str) -> str:
    """What goes wrong when a study is written to ``url``; empty when nothing does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.get_storage(url)
        created = storage.create_new_study([StudyDirection.MAXIMIZE], f"doctor-{uuid.uuid4().hex}")
        storage.delete_study(created)
    except (ImportError, OptunaError, SQLAlchemyError, ValueError) as error:
        return str(error).strip().splitlines()[0]
    return ""
