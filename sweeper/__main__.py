"""``python -m sweeper``."""

from sweeper.errors import readable_errors


def main() -> None:
    """Run one trial, or a study; stopped while it imports, it says nothing either."""
    with readable_errors():
        from sweeper.cli import main as run

        run()


if __name__ == "__main__":
    main()
