"""What a job tells of the trial it runs: lines of JSON that another machine reads as they come."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from sweeper.executors import Watcher
from sweeper.trial.json_text import to_json
from sweeper.trial.readings import EpochReport


class EventLog:
    """Appends events to a file, each a whole line; a `Watcher` of the trial."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet."""
        self._path, self._lock = path, threading.Lock()

    def append(self, event: str, **values: Any) -> None:
        """Write one event with the time, Unix seconds."""
        line = json.dumps({"event": event, "time": time.time(), **values})
        with self._lock, self._path.open("a") as file:
            file.write(line + "\n")

    def on_progress(self, done: int, total: int) -> None:
        """Micro-batches done and in all."""
        self.append("progress", done=done, total=total)

    def on_epoch(self, report: EpochReport) -> bool:
        """A finished epoch; whether the trial stops is for the reader to say."""
        self.append("epoch", report=json.loads(to_json(report)))
        return False


class EventReader:
    """Passes the events of a file on to a watcher, each once.

    Attributes:
        started: When the job began to run the trial, Unix seconds; None before.
        last: Time of its last event.
        epochs: The epochs it told of.
    """

    def __init__(self, path: Path, watcher: Watcher) -> None:
        """Begin with the first event."""
        self._path, self._watcher, self._read = path, watcher, 0
        self.started: float | None = None
        self.last = 0.0
        self.epochs: list[EpochReport] = []

    def pass_on(self) -> None:
        """Read what has come since, up to the last whole line."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        self.last = event["time"]
        if event["event"] == "started":
            self.started = self.last
        elif event["event"] == "progress":
            self._watcher.on_progress(event["done"], event["total"])
        elif event["event"] == "epoch":
            self.epochs.append(EpochReport(**event["report"]))
            self._watcher.on_epoch(self.epochs[-1])
