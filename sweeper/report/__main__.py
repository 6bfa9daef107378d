"""``python -m sweeper.report [study.name=NAME]``."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.cli import readable_errors
from sweeper.compose import compose_settings
from sweeper.report.markdown import render
from sweeper.tracking import read_study


def main(overrides: list[str]) -> None:
    """Write ``runs/<study>/report.md`` and print it."""
    settings = compose_settings(overrides)
    study = read_study(settings.tracking_uri, settings.tracking.experiment, settings.study.name)
    text = render(study)
    path = Path(settings.runs_dir) / study.name / "report.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(text)
    print(f"written to {path}")


if __name__ == "__main__":
    with readable_errors():
        main(sys.argv[1:])
