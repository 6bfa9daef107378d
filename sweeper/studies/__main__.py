"""``python -m sweeper.studies [study.name=NAME [studies.remove=true]]``."""

from __future__ import annotations

from sweeper.tools import run_tool


def main(overrides: list[str]) -> None:
    """Print the studies under ``runs_dir``, or one of them; or remove that one.

    Raises:
        SweeperError: A person must act, as the message says.
    """
    from sweeper.config.compose import compose_settings
    from sweeper.errors import SettingsError
    from sweeper.studies.listing import list_studies, show_study
    from sweeper.studies.removal import remove_study

    settings = compose_settings(overrides)
    name = settings.study.name
    if settings.studies.remove and name is None:
        raise SettingsError(
            "studies.remove=true removes one study. Name it: study.name=NAME; python -m "
            "sweeper.studies lists them."
        )
    if name is None:
        print("\n".join(list_studies(settings)))
    elif settings.studies.remove:
        print("\n".join(remove_study(settings, name)))
    else:
        print("\n".join(show_study(settings, name)))


if __name__ == "__main__":
    run_tool(main, __doc__)
