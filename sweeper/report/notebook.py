"""A study for notebooks: ``from sweeper import load_study``."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import pandas as pd

from sweeper.config.settings import Settings, TrackingSettings
from sweeper.report import tables
from sweeper.report.answer import answer
from sweeper.report.document import title
from sweeper.report.findings import Findings
from sweeper.report.frames import curves_frame, trials_frame
from sweeper.report.html import to_fragment
from sweeper.report.load import load_record
from sweeper.report.markdown import render_table
from sweeper.trial.study_record import RecordedStudy

ROWS = 20  # of the comparison that a notebook shows


class LoadedStudy:
    """A study as it was recorded when it was loaded.

    Attributes:
        name: Study name.
        findings: What the functions of `sweeper.plots` take.
    """

    def __init__(self, recorded: RecordedStudy) -> None:
        self.name = recorded.study.name
        self.findings = Findings(recorded)

    def __repr__(self) -> str:
        return f"<study {self.name}: {len(self.findings.trials)} trials>"

    def _repr_html_(self) -> str:
        """The answer, and the comparison of the cells below it."""
        table = tables.comparison(self.findings)
        shown = replace(table, rows=table.rows[:ROWS])
        parts = [f"#### {title(self.findings)}", answer(self.findings)]
        parts += [render_table(shown)] * bool(shown.rows)
        if len(table.rows) > ROWS:
            parts.append(f"The first {ROWS} of {len(table.rows):,} cells; `trials` has them all.")
        return to_fragment("\n\n".join(parts))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial in order; units are in the names of the columns."""
        return trials_frame(self.findings)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per trial and epoch; MLflow takes some milliseconds per trial."""
        return curves_frame(self.findings)

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
    """Load a study from its folder where that is at hand, else from MLflow.

    Args:
        name: ``study.name``; None is the latest study.
        runs_dir: The folder with the studies and ``mlflow.db``.
        tracking_uri: An MLflow server or database instead of it.
        experiment: ``tracking.experiment``.

    Raises:
        StudyError: There is no such study, or MLflow does not answer.
    """
    tracking = TrackingSettings(uri=tracking_uri, experiment=experiment)
    return LoadedStudy(load_record(Settings(runs_dir=runs_dir, tracking=tracking), name))
