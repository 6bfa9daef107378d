"""A child process as its parent sees it: started, asked, and killed when it is late."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from sweeper.deploy.child import environment


class ChildFault(Exception):
    """What a child could not do; the message is for the table."""


class Child:
    """One child process that answers each question with one line of JSON."""

    def __init__(self, module: str, job: dict[str, Any], timeout_s: float) -> None:
        """Start ``python -m module`` with the job."""
        self._timeout_s, self._log = timeout_s, Path(job["log"])
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(job["device"], job["threads"]),
                start_new_session=True,
            )
        self._rest = b""

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            ChildFault: It failed, died, or took longer than the time-out.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **values}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ChildFault(self._died()) from error
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            ChildFault: It reports a failure, died, or is late.
        """
        answer: dict[str, Any] = json.loads(self._line())
        if "error" in answer:
            raise ChildFault(answer["error"])
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.kill()
                raise ChildFault(
                    f"not done after deploy.timeout_s={self._timeout_s:g} seconds. Raise it."
                )
            read = os.read(self._process.stdout.fileno(), 2**16)
            if not read:
                raise ChildFault(self._died())
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _died(self) -> str:
        code = self._process.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"the process ended with {name}. {' '.join(last)}".strip()

    def kill(self) -> None:
        """End the child and whatever it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
