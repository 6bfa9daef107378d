"""The one door to MLflow."""

from __future__ import annotations

import logging
import os

from sweeper.tracking.faults import FAULTS, is_refusal, readable_faults
from sweeper.tracking.page import publish_report
from sweeper.tracking.reader import OlderStudyError, read_curve, read_study
from sweeper.tracking.removal import delete_runs
from sweeper.tracking.writer import Tracker

__all__ = [
    "FAULTS",
    "OlderStudyError",
    "Tracker",
    "delete_runs",
    "is_refusal",
    "publish_report",
    "read_curve",
    "read_study",
    "readable_faults",
]

# MLflow and Alembic report each step of creating a database, and MLflow the address of every run
# that a server takes; the terminal belongs to the study.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)
