"""``python -m sweeper.report [study.name=NAME] [report.format=html]``."""

from __future__ import annotations

import sys

from sweeper.config.compose import compose_settings
from sweeper.errors import readable_errors
from sweeper.report.publish import publish


def main(overrides: list[str]) -> None:
    """Write ``runs/<study>/report.md``, log it to the study's MLflow run, and print it."""
    settings = compose_settings(overrides)
    path = publish(settings, settings.study.name).path
    if path.suffix == ".md":
        print(path.read_text(encoding="utf-8"))
    print(f"written to {path}")


if __name__ == "__main__":
    with readable_errors():
        main(sys.argv[1:])
