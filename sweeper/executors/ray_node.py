"""A trial on a node of a Ray cluster, in a temporary folder that goes with its actor."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.executors.machine import machine_here
from sweeper.training.digits import DigitScenes, write_digits
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json, to_json
from sweeper.trial.record import TrialFacts, TrialSpec

CHUNK = 16 * 2**20  # bytes of a file that travel at once
POLL_S = 0.5
GRACE_S = 30.0
KEEP_S = 3600.0  # how long a trial that has ended waits on its GPU for a driver that comes back


def machine_text() -> str:
    """The node as Ray shows it to a task, as JSON."""
    return to_json(machine_here())


@dataclass(frozen=True, slots=True)
class Look:
    """What is new of a trial.

    Attributes:
        events: What has been added to its events.
        files: Once it has ended, what it has left, by path in its folder; the facts come last.
    """

    events: bytes
    files: tuple[str, ...] = ()


class NodeTrial:
    """Runs the trial of one actor; whatever ends the actor ends the trial and its folder."""

    def __init__(self, name: str, spec: str, digits: str | None) -> None:
        """Make the folder; the trial waits for `start`.

        Args:
            name: Of the trial's folder.
            spec: Its spec, as JSON.
            digits: How its dataset is composed where the node does not have it, as JSON; None
                where it cannot be.
        """
        self._folder = TrialFolder(Path(tempfile.mkdtemp(prefix="sweeper-")) / name)
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "sweeper.executors.ray_node", str(self._folder.path)],
            stdin=subprocess.PIPE,
            bufsize=0,
        )
        self._keeper.wait()  # it has forked: Ray kills the children of a worker that it ends
        read = from_json(TrialSpec, spec, "the spec")
        if digits is not None and not Path(read.data_yaml).exists():
            scenes = from_json(DigitScenes, digits, "the recipe of the digits")
            composed = write_digits(self._folder.path.parent / "data", scenes)
            read = replace(read, data_yaml=str(composed))
        self._folder.prepare(read)

    def append(self, name: str, content: bytes) -> None:
        """Take a piece of a file that the trial goes on from."""
        file = self._folder.path / name
        file.parent.mkdir(exist_ok=True)
        with file.open("ab") as opened:
            opened.write(content)

    def start(self) -> None:
        """Run the trial."""
        self._signal()

    def look(self, heard: int) -> Look:
        """What is new beyond the first bytes of the events."""
        self._signal()
        ended = self._folder.read_facts() is not None
        events = self._folder.events
        new = self.read(events.name, heard) if events.exists() else b""
        files = self._folder.brought_back if ended else ()
        return Look(new, tuple(str(f.relative_to(self._folder.path)) for f in files))

    def read(self, name: str, start: int) -> bytes:
        """A piece of a file; empty after its end."""
        with (self._folder.path / name).open("rb") as file:
            file.seek(start)
            return file.read(CHUNK)

    def stop(self) -> None:
        """Ask the trial to end."""
        self._folder.stop.touch()

    def _signal(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(b".")


def keep(folder: TrialFolder, actor: int) -> None:
    """Run the host of a trial when told to, and end it with the actor.

    Args:
        folder: The trial's, in one that is removed in the end.
        actor: Process id of the actor; it writes to stdin whenever it is asked for news.
    """
    host = _start(folder) if os.read(0, 1) else None
    asked = time.monotonic()
    while host is not None:
        if select.select([0], [], [], POLL_S)[0]:
            if not os.read(0, 1024):  # the actor is gone
                break
            asked = time.monotonic()
        if host.poll() is None:
            continue
        if folder.read_facts() is None:
            folder.write_facts(TrialFacts(no_start=_last_words(folder, host.returncode)))
        if time.monotonic() - asked > KEEP_S:
            os.kill(actor, signal.SIGTERM)
            asked = time.monotonic()
    if host is not None:
        _end(host)
    shutil.rmtree(folder.path.parent)


def _start(folder: TrialFolder) -> subprocess.Popen[bytes]:
    with _output(folder).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sweeper.executors.host", str(folder.path)],
            cwd=folder.path.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _end(host: subprocess.Popen[bytes]) -> None:
    host.terminate()
    try:
        host.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()


def _output(folder: TrialFolder) -> Path:
    return folder.path.parent / "host.txt"


def _last_words(folder: TrialFolder, code: int) -> str:
    said = _output(folder).read_text(errors="replace").strip().splitlines()
    last = f": {said[-1]}" if said else ""
    return f"on {socket.gethostname()} the trial's host ended with exit code {code}{last}"


def main(folder: str) -> None:
    """Keep a trial, beyond the end of the process that asked for it."""
    actor = os.getppid()
    if os.fork():
        return
    os.setsid()
    keep(TrialFolder(Path(folder)), actor)


if __name__ == "__main__":
    main(sys.argv[1])
