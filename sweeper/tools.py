"""How the tools beside the study start: ``python -m sweeper.report`` and its like."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from sweeper.errors import readable_errors

HELP = {"-h", "--help"}
SWEEP = ("-m", "--multirun")  # of a study, whose arguments may be pasted


def run_tool(main: Callable[[list[str]], int | None], about: str | None) -> NoReturn:
    """Call a tool with its arguments, and exit with what it returns.

    Args:
        main: The tool, which imports what it needs itself: while it does, Ctrl-C is handled, and
            ``--help`` need not wait for it. None is success.
        about: What ``--help`` prints.
    """
    arguments = [argument for argument in sys.argv[1:] if argument not in SWEEP]
    if HELP & set(arguments):
        print(about)
        sys.exit()
    with readable_errors():
        sys.exit(main(arguments) or 0)
