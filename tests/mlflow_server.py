"""An MLflow server of one's own, which can be shot and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTUP_S = 180.0


class Server:
    """A server on a free port of this machine.

    Attributes:
        uri: As tracking.uri takes it.
    """

    def __init__(self, database: Path, folder: Path) -> None:
        """Start it.

        Args:
            database: MLflow's SQLite file.
            folder: Takes artifacts and what the server says.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self._folder, self._log = folder, folder / "server.txt"
        self._command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{database}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=out, cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + STARTUP_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"mlflow server did not start:\n{self._log.read_text()}")
            time.sleep(0.3)

    def shoot(self) -> None:
        """End all of its processes at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def running(database: Path, folder: Path) -> Iterator[Server]:
    """A server that is gone in the end."""
    server = Server(database, folder)
    try:
        yield server
    finally:
        server.shoot()
