"""Turns this process into one that runs on an emulated machine."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from sweeper.emulator.build import build
from sweeper.emulator.machine import Machine, environment, open_table
from sweeper.errors import EmulatorError


def run(machine: Machine, command: list[str]) -> NoReturn:
    """Become ``command`` on the machine; libraries are preloaded, so there is no way but that.

    Raises:
        EmulatorError: The card cannot be built, or there is no such command.
    """
    libraries = build(_say)
    state = f"/proc/{os.getpid()}/fd/{open_table()}"
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, environment(machine, libraries, state))
    except FileNotFoundError as error:
        raise EmulatorError(f"{command[0]} was not found.") from error


def start_again(machine: Machine) -> NoReturn:
    """Begin this very command again, on the machine."""
    run(machine, [sys.executable, *sys.orig_argv[1:]])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
