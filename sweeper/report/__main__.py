"""``python -m sweeper.report [study.name=NAME] [report.format=html]``."""

from __future__ import annotations

import sys

from sweeper.tools import run_tool


def main(overrides: list[str]) -> None:
    """Write ``runs/<study>/report.md``, log it to the study's MLflow run, and print it.

    Where MLflow does not take it, the report is written all the same, with a warning.
    """
    from sweeper.config.compose import compose_settings
    from sweeper.report.publish import publish

    settings = compose_settings(overrides)
    report = publish(settings, settings.study.name)
    path = report.path
    if path.suffix == ".md":
        print(path.read_text(encoding="utf-8"))
    print(f"written to {path}")
    if report.warning:
        print(f"warning: {report.warning}", file=sys.stderr)


if __name__ == "__main__":
    run_tool(main, __doc__)
