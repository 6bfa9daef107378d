"""The one door to MLflow."""

from __future__ import annotations

import logging

from sweeper.tracking.reader import read_curve, read_study
from sweeper.tracking.record import StudyRecord, TrialRecord
from sweeper.tracking.writer import FAULTS, Tracker, is_refusal, publish_report

__all__ = [
    "FAULTS",
    "StudyRecord",
    "Tracker",
    "TrialRecord",
    "is_refusal",
    "publish_report",
    "read_curve",
    "read_study",
]

# MLflow and Alembic report each step of creating a database; the terminal belongs to the study.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)
