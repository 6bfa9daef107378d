"""How the tools beside the study start: ``python -m sweeper.report`` and its like."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType
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
    with readable_errors():
        stop_when_told()
        try:
            code = main(arguments) if not HELP & set(arguments) else print(about)
            if sys.stdout is not None:  # None where it was closed before the start
                sys.stdout.flush()
        except BrokenPipeError:
            if not _is_read_no_more(sys.stdout.fileno()):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 128 + signal.SIGPIPE
        sys.exit(code or 0)


def _is_read_no_more(pipe: int) -> bool:
    """Whether the reader of a pipe has gone, as `head` does when it has enough."""
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def stop_when_told() -> None:
    """Take SIGTERM and SIGHUP, unless they are ignored, for Ctrl-C: what was begun is tidied."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
            signal.signal(number, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
