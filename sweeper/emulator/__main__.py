"""``python -m sweeper.emulator [options] [command …]``: build, then run a command on the cards."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from sweeper.emulator.build import build
from sweeper.emulator.launch import run
from sweeper.emulator.machine import Card, Machine, Pids
from sweeper.errors import EmulatorError, readable_errors


def main(arguments: Sequence[str]) -> None:
    """Without a command, only build."""
    options = parser().parse_args(arguments)
    if not options.command:
        print(build(lambda text: print(text, file=sys.stderr, flush=True)))
        return
    machine = Machine(
        cards=tuple(map(parse_card, options.card or ["24"])),
        driver_mib=options.driver_mib,
        context_mib=options.context_mib,
        pids=options.pids,
        compute=options.compute,
        strict=options.strict,
    )
    run(machine, options.command)


def parse_card(text: str) -> Card:
    """``8``, ``8:7.5`` or ``8:7.5:Name``.

    Raises:
        EmulatorError: The memory is not a number.
    """
    gib, *rest = text.split(":", 2)
    capability, name = [*rest, "", ""][:2]
    try:
        return Card(float(gib), name, capability or Card().capability)
    except ValueError as error:
        raise EmulatorError(
            f"--card begins with its memory in GiB but got {text!r}, e.g. --card 8:7.5."
        ) from error


def parser() -> argparse.ArgumentParser:
    """The command line."""
    usual = Machine()
    parser = argparse.ArgumentParser(
        prog="python -m sweeper.emulator",
        description="Run a command on emulated cards; without a command, build what it takes.",
    )
    parser.add_argument(
        "--card", action="append", metavar="GIB[:CAPABILITY[:NAME]]", help="one for each card"
    )
    parser.add_argument("--driver-mib", type=int, default=usual.driver_mib, metavar="MIB")
    parser.add_argument("--context-mib", type=int, default=usual.context_mib, metavar="MIB")
    parser.add_argument("--pids", choices=get_args(Pids), default=usual.pids)
    parser.add_argument("--compute", choices=["all", "light"], default=usual.compute)
    parser.add_argument(
        "--strict", action="store_true", help="end what calls a function that is not implemented"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    with readable_errors():
        main(sys.argv[1:])
