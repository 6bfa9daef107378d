"""The errors a person can act on.

* SweeperError
  + SettingsError — a key of the configuration has a value that cannot work
  + DataError — the dataset on disk is not what its YAML says
  + StudyError — the stored study and the command do not fit together
  + MachineError — the machine is not fit for the study
  + DeployError — nothing could be exported or measured
  + EmulatorError — an emulated card cannot be built, or not as described
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sweeper.passwords import without_password

EXIT_INTERRUPTED = 130
COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48; Ultralytics puts them into errors


def first_line(error: BaseException) -> str:
    """The first line of an error's message, its type where it has none; no colour, no password."""
    lines = without_password(COLOUR.sub("", str(error))).strip().splitlines()
    return next(iter(lines), type(error).__name__)


class SweeperError(Exception):
    """Printed as its message, without a traceback; the exit code is 1."""


class SettingsError(SweeperError):
    """A configuration value cannot work; the message names the key as typed."""


class DataError(SweeperError):
    """The dataset on disk is not what its YAML says; the message lists each fault."""


class StudyError(SweeperError):
    """The stored study and the command do not fit together."""


class MachineError(SweeperError):
    """The machine is not fit for the study; the message says what to mend."""


class DeployError(SweeperError):
    """Nothing could be exported or measured; the message says why and what to do."""


class EmulatorError(SweeperError):
    """An emulated card cannot be built, or not as described; the message says what to do."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """Print a SweeperError as its message and exit with 1; Ctrl-C exits with 130.

    So does a Python that has none of what sweeper needs: that of the system, not of `.venv`.
    """
    try:
        yield
    except (SweeperError, OSError) as error:  # OSError: a disk or a folder, named in its message
        print(f"error: {without_password(str(error))}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if find_spec("hydra") is not None:
            raise
        print(
            f"error: {error.name} is not installed for {sys.executable}. In a clone: make "
            "install, then .venv/bin/python, or python after: . .venv/bin/activate",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
