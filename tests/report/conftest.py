"""The synthetic studies that several modules look at, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.report.findings import Findings
from sweeper.report.load import load_record
from sweeper.report.publish import publish
from tests.report.synthetic import ARTICLE, write_study


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of the article's study with its report in both formats."""
    runs = tmp_path_factory.mktemp("runs")
    write_study(runs, ARTICLE)
    publish(compose_settings([f"runs_dir={runs}", "report.format=html"]), "article")
    return runs


@pytest.fixture(scope="session")
def article(published: Path) -> Findings:
    """What the article's study found."""
    settings = compose_settings([f"runs_dir={published}"])
    return Findings(load_record(settings, "article"))
