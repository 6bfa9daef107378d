"""A study for notebooks: ``from sweeper import load_study``."""

from __future__ import annotations

from functools import cached_property

import pandas as pd

from sweeper.report.findings import Findings
from sweeper.report.frames import curves_frame, trials_frame
from sweeper.tracking import StudyRecord, read_study


class LoadedStudy:
    """A study as MLflow held it when it was loaded.

    Attributes:
        name: Study name.
        findings: What the functions of `sweeper.report.plots` take.
    """

    def __init__(self, record: StudyRecord, tracking_uri: str) -> None:
        self.name, self._uri = record.name, tracking_uri
        self.findings = Findings(record)

    def __repr__(self) -> str:
        return f"<study {self.name}: {len(self.findings.study.trials)} trials>"

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial in order; units are in the names of the columns."""
        return trials_frame(self.findings)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per trial and epoch; read on first use, some milliseconds per trial."""
        return curves_frame(self._uri, list(self.findings.cells))

    @property
    def best(self) -> pd.Series | None:
        """The row of `trials` that the report recommends; None before one has completed."""
        winner = self.findings.winner
        if winner is None:
            return None
        return self.trials[self.trials["trial"] == winner.first.number].iloc[0]


def load_study(
    name: str | None = None,
    *,
    runs_dir: str = "runs",
    tracking_uri: str | None = None,
    experiment: str = "sweeper",
) -> LoadedStudy:
    """Load a study from MLflow.

    Args:
        name: ``study.name``; None is the latest study.
        runs_dir: The folder whose ``mlflow.db`` is read.
        tracking_uri: An MLflow server or database instead of it.
        experiment: ``tracking.experiment``.

    Raises:
        StudyError: There is no such study.
    """
    uri = tracking_uri or f"sqlite:///{runs_dir}/mlflow.db"
    return LoadedStudy(read_study(uri, experiment, name), uri)
