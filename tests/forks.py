"""Scripts in forks of one process that has imported what they need, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 480
COMMANDS = (
    *("sweeper.cli", "sweeper.study.run", "sweeper.deploy.run", "sweeper.doctor.checks"),
    *("sweeper.training.digits", "sweeper.report.publish"),
)


@dataclass(frozen=True, slots=True)
class Done:
    """How a script or command ended."""

    code: int
    out: str
    err: str


class ForkServer:
    """A process with modules imported, which forks for every script."""

    def __init__(self, env: Mapping[str, str], *modules: str) -> None:
        self._output = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", *modules],
            env=env,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def run(self, script: str, env: Mapping[str, str], folder: Path) -> Done:
        out, err = (Path(self._output.name, name) for name in ("out.txt", "err.txt"))
        request = {
            "script": script,
            "env": {**env, "TMPDIR": self._output.name},
            "folder": str(folder),
            "out": str(out),
            "err": str(err),
            "timeout_s": TIMEOUT_S,
        }
        stdin = pipe(self._process.stdin)
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        code = self._read()
        return Done(code, out.read_text(), err.read_text())

    def close(self) -> None:
        with self._process, self._output:  # closes its pipes, which ends it, and waits
            pass

    def _read(self) -> Any:
        line = pipe(self._process.stdout).readline()
        assert line, "the process that forks died"
        return json.loads(line)


class Commands:
    """The project's commands as users type them; nothing is trained by those that run here."""

    def __init__(self) -> None:
        self._server = ForkServer(environment_here(), *COMMANDS)

    def __call__(self, folder: Path, *words: str, module: str = "sweeper") -> Done:
        script = f"""
import runpy, sys
import sweeper.fork_server, sweeper.executors.supervise
for module in (sweeper.fork_server, sweeper.executors.supervise):
    module.start_fork_server = lambda preload: None  # of torch there is no need
sys.argv = [{module!r}, *{words!r}]
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
        return self._server.run(script, environment_here(), folder)

    def close(self) -> None:
        self._server.close()


def environment_here() -> dict[str, str]:
    """The tests' environment, without what would make a card of it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "EMULATOR_"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "OMP_NUM_THREADS": "1",
    }


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
