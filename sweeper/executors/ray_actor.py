"""The actor of a slot on a Ray cluster: what the driver says to it, and what it tells."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from sweeper.executors.machine import machine_here
from sweeper.executors.ray_node import trials_of
from sweeper.training.digits import DigitScenes, write_digits
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json, to_json
from sweeper.trial.spec import TrialSpec

CHUNK = 16 * 2**20  # bytes of a file that travel at once
SMALL = 2**20  # bytes of a file that come with the news that the trial has ended
NEWS_S = 0.5  # how long a look waits for something to tell
NEWS_EVERY_S = 0.01
# No ``-m``: the fork server's children would import that module again, each of them.
KEEPER = "import sys; from sweeper.executors.ray_node import main; main(sys.argv[1])"


def machine_text() -> str:
    """The node as Ray shows it to a task, as JSON."""
    return to_json(machine_here())


@dataclass(frozen=True, slots=True)
class Look:
    """What is new of a trial.

    Attributes:
        events: What has been added to its events.
        files: Once it has ended, what it has left, by path in its folder: how many bytes each is
            long, and the bytes of small ones. The facts come last.
    """

    events: bytes = b""
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)


class Slot:
    """An actor that runs trials, which end with it; whoever ends it ends their folders too."""

    def __init__(self) -> None:
        """Start the process that runs the trials: Ray kills the children of a worker it ends."""
        self._home = Path(tempfile.gettempdir()) / f"sweeper-{uuid.uuid4().hex}"
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(self._home)],
            stdin=subprocess.PIPE,
            bufsize=0,
        )
        self._keeper.wait()  # it has made the folder, and forked
        threading.Thread(target=self._end_with_keeper, daemon=True).start()

    def begin(
        self, trial: str, spec: str, digits: str | None, files: dict[str, list[Any]]
    ) -> Look:
        """Run a trial.

        Args:
            trial: Its folder here: a name of its own, a slash, and the name that it has there.
            spec: Its spec, as JSON.
            digits: How its dataset is composed where the node does not have it, as JSON; None
                where it cannot be.
            files: What it goes on from, as pieces in Ray's store.
        """
        folder = self._folder(trial)
        try:
            read = from_json(TrialSpec, spec, "the spec")
            if digits is not None and not Path(read.data_yaml).exists():
                scenes = from_json(DigitScenes, digits, "the recipe of the digits")
                read = replace(read, data_yaml=str(write_digits(self._home / "data", scenes)))
            folder.prepare(read)
            for name, pieces in files.items():
                _write(folder.path / name, pieces)
        except BaseException:
            self.forget(trial)
            raise
        self._tell(trial)
        return Look()

    def look(self, trial: str, heard: int) -> Look | None:
        """What is new beyond the first bytes of the events, once something is, or after a while.

        None where the slot has no such trial.
        """
        self._tell("")
        folder = self._folder(trial)
        if not folder.exists:
            return None
        until = time.monotonic() + NEWS_S
        while True:
            ended = folder.read_facts() is not None
            events = self.read(trial, folder.events.name, heard) if folder.events.exists() else b""
            if ended or events or time.monotonic() > until:
                break
            time.sleep(NEWS_EVERY_S)
        left = folder.brought_back if ended else []
        return Look(events, {str(f.relative_to(folder.path)): _describe(f) for f in left})

    def read(self, trial: str, name: str, start: int) -> bytes:
        """A piece of a file; empty after its end."""
        with (self._folder(trial).path / name).open("rb") as file:
            file.seek(start)
            return file.read(CHUNK)

    def stop(self, trial: str) -> None:
        """Ask a trial to end."""
        with suppress(FileNotFoundError):  # it is forgotten
            self._folder(trial).stop.touch()

    def forget(self, trial: str) -> None:
        """Remove the folder of a trial that has ended."""
        shutil.rmtree(self._folder(trial).path.parent, ignore_errors=True)

    def _folder(self, trial: str) -> TrialFolder:
        return TrialFolder(trials_of(self._home) / trial)

    def _end_with_keeper(self) -> None:
        poll = select.poll()
        assert self._keeper.stdin is not None
        poll.register(self._keeper.stdin, 0)  # tells of its end only
        poll.poll()
        shutil.rmtree(self._home, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)

    def _tell(self, trial: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{trial}\n".encode())


def _write(file: Path, pieces: list[Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as opened:
        for piece in pieces:
            opened.write(ray.get(piece))


def _describe(file: Path) -> tuple[int, bytes]:
    size = file.stat().st_size
    return size, file.read_bytes() if size <= SMALL else b""


def pieces_of(file: Path) -> Iterator[bytes]:
    """What a file holds, as it travels."""
    with file.open("rb") as opened:
        while piece := opened.read(CHUNK):
            yield piece


def bring(slot: Any, trial: str, name: str, size: int, content: bytes, target: Path) -> None:
    """Copy a file from the slot, whole or not at all; what is short has come already."""
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f"{target.name}.part")
    with draft.open("wb") as file:
        file.write(content)
        while file.tell() < size:
            file.write(ray.get(slot.read.remote(trial, name, file.tell())))
    os.replace(draft, target)
