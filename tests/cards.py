"""Emulated machines for tests: scripts and commands on their cards, neighbours, exact figures."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.emulator.machine import Machine, environment
from tests.forks import TIMEOUT_S, Done, ForkServer, environment_here, pipe

# What every script can use; the last line printed is what `answer` was given.
PRELUDE = """
import json, os, sys
import torch
assert not torch.cuda.is_initialized()
GIB, MIB = 2**30, 2**20
def answer(**values):
    print(json.dumps(values))
"""

# Takes memory as another program would, and lets go when its input ends.
NEIGHBOUR = """
import ctypes, sys
cuda, block = ctypes.CDLL(None), ctypes.c_void_p()
cuda.cudaSetDevice(int(sys.argv[1]))
print(cuda.cudaMalloc(ctypes.byref(block), ctypes.c_size_t(int(sys.argv[2]))), flush=True)
sys.stdin.read()
"""


class CardServer:
    """A process with the cards' libraries and torch, which forks for every script."""

    def __init__(self, libraries: Path) -> None:
        self.libraries = libraries
        env = environment(Machine(), libraries, "", environment_here())
        # What an optimizer imports late comes first, too, else every fork does it.
        self._forks = ForkServer(env, "torch", "torch._dynamo", "sweeper.training.run")

    def run(self, script: str, env: Mapping[str, str], folder: Path) -> Done:
        return self._forks.run(script, env, folder)

    def close(self) -> None:
        self._forks.close()


@dataclass(frozen=True, slots=True)
class EmulatedMachine:
    """A machine whose processes share one table; two machines know nothing of each other.

    Attributes:
        machine: Its cards and driver.
        env: The environment of a process on it.
        folder: Where scripts run.
    """

    machine: Machine
    env: dict[str, str]
    folder: Path
    server: CardServer

    @property
    def uuids(self) -> list[str]:
        """The cards' UUIDs, in order."""
        return [f"GPU-emulated-0000-0000-0000-{i:012}" for i in range(len(self.machine.cards))]

    def run(self, script: str, **environ: str) -> dict[str, Any]:
        """What a script handed to ``answer``; torch is imported, CUDA untouched."""
        done = self.attempt(script, **environ)
        assert done.code == 0, done.err
        return dict(json.loads(done.out.splitlines()[-1]))

    def attempt(self, script: str, **environ: str) -> Done:
        """How a script ends."""
        text = PRELUDE + textwrap.dedent(script)
        return self.server.run(text, self.env | environ, self.folder)

    def command(self, *words: str, **environ: str) -> Done:
        """How a Python command ends, in a process that has imported nothing."""
        done = subprocess.run(
            [sys.executable, *words],
            env=self.env | environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def neighbour(self, gib: float, card: int = 0) -> Iterator[int]:
        """Another process that holds so much of a card, its context included; gives its pid."""
        held = int(gib * 2**30) - self.machine.context_mib * 2**20
        with subprocess.Popen(
            [sys.executable, "-c", NEIGHBOUR, str(card), str(held)],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert pipe(process.stdout).readline() == "0\n", "no room for the neighbour"
            yield process.pid


def emulate(machine: Machine, server: CardServer, state: str, folder: Path) -> EmulatedMachine:
    """A machine over a table of its own."""
    env = environment(machine, server.libraries, state, environment_here())
    return EmulatedMachine(machine, env, folder, server)
