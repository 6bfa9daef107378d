"""Where a study writes: space on the disk, Optuna's storage and MLflow's, by really writing."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import socket
import sqlite3
import struct
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.numbers import MIB, count, size
from sweeper.passwords import without_password
from sweeper.study.space import Space

SERVER_TIMEOUT_S = 3.0
LOCK_TIMEOUT_S = 2.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}

# What spec, log, curves, the first batch and their copies in MLflow come to, rounded up.
RECORDS_MIB = 3
# A checkpoint of Ultralytics: the weights in half precision and two moments of AdamW likewise.
BYTES_PER_PARAMETER = 6
# The state of a trial that waits at a rung: weights, EMA copy, gradients and two moments of AdamW.
RUNG_BYTES_PER_PARAMETER = 20
# Ultralytics' cfg/models/11/yolo11.yaml, in millions.
PARAMETERS = {"n": 2.6, "s": 9.5, "m": 20.1, "l": 25.4, "x": 57.0}


def check_disk(space: Space) -> Finding:
    """Write to ``runs_dir`` and compare the free space with what the study will write."""
    settings, trials = space.cells[0].settings, _trials(space)
    place = existing_parent(Path(settings.runs_dir))
    fault = write_fault(place)
    if fault:
        return failure(
            "disk",
            f"runs_dir={settings.runs_dir} cannot be written: {fault}.",
            "Free space there or choose another folder: runs_dir=PATH.",
        )
    need = max(study_bytes(cell.settings, trials) for cell in space.cells)
    free = shutil.disk_usage(place).free
    text = f"{size(free)} free, {count(trials, 'trial')} will write up to {size(need)}"
    remedy = "Free space, or lower the number of checkpoints: train.save_period=-1."
    if free < need:
        return failure("disk", f"{text}.", remedy)
    return warning("disk", f"{text}.", remedy) if free < 2 * need else ok("disk", text)


def _trials(space: Space) -> int:
    """How many a study of this space runs, those that confirm included."""
    study = space.cells[0].settings.study
    searched = min(study.n_trials or len(space.cells), len(space.cells))
    return searched + min(study.confirm.top, searched) * study.confirm.seeds


def study_bytes(settings: Settings, trials: int) -> int:
    """What a study writes under ``runs_dir``: checkpoints and records; at most, an estimate."""
    train = settings.train
    periodic = math.ceil(train.epochs / train.save_period) if train.save_period > 0 else 0
    kept = 2 if settings.study.keep_best or periodic else 0  # best.pt and last.pt
    millions = PARAMETERS.get(settings.model.name[-1:], PARAMETERS["x"])
    parameters = int(millions * 1e6)
    waits = bool(settings.rungs)
    copies = 1 if kept and waits else 0  # of best.pt, in the state
    each = (periodic + kept + copies) * BYTES_PER_PARAMETER + waits * RUNG_BYTES_PER_PARAMETER
    return trials * (RECORDS_MIB * MIB + parameters * each)


def existing_parent(path: Path) -> Path:
    """The path itself or its nearest parent that exists."""
    path = path.expanduser().absolute()
    return path if path.exists() else existing_parent(path.parent)


def write_fault(folder: Path) -> str:
    """What goes wrong when a megabyte is written there; empty when nothing does."""
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * MIB)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def locks_fault(folder: Path) -> str:
    """What is wrong with the locks of the file system there; empty when they hold.

    SQLite relies on them: without, two processes damage a database.
    """
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as first, open(first.name, "wb") as second:
            try:
                fcntl.fcntl(first, fcntl.F_OFD_SETLK, lock)
            except OSError as error:
                return f"the file system of {folder} has no locks ({error.strerror})"
            try:
                fcntl.fcntl(second, fcntl.F_OFD_SETLK, lock)
            except OSError:
                return ""
    except OSError as error:
        return f"{folder} takes no file ({error.strerror})"
    return f"the file system of {folder} grants a lock twice"


def check_storage(settings: Settings) -> Finding:
    """Write to Optuna's storage and take it back."""
    from sweeper.study.storage import storage_fault

    url = settings.storage_url
    fault = _sqlite_fault(url) if _is_sqlite(url) else _server_fault(url) or storage_fault(url)
    remedy = "Start the server or repair the file; or choose another: study.storage=URL."
    return _place("storage", "study.storage", url, fault, remedy)


def check_tracking(settings: Settings) -> Finding:
    """Write to MLflow and take it back."""
    from sweeper.tracking.write_check import tracking_fault

    uri = settings.tracking_uri
    fault = _sqlite_fault(uri) if _is_sqlite(uri) else _server_fault(uri) or tracking_fault(uri)
    remedy = "Start the server or repair the file; or choose another: tracking.uri=URI."
    return _place("tracking", "tracking.uri", uri, fault, remedy)


def _place(check: str, key: str, url: str, fault: str, remedy: str) -> Finding:
    shown = without_password(url)
    if fault:
        return failure(check, f"{key}={shown} cannot be written: {fault}.", remedy)
    return ok(check, f"{shown} can be written")


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:///")


def _sqlite_fault(url: str) -> str:
    """Write a row to the database in one transaction that leaves nothing behind.

    A database that does not exist yet is not created: its folder is written to instead.
    """
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    folder = existing_parent(path.parent)
    if not path.exists() and (fault := write_fault(existing_parent(path))):
        return fault
    if fault := locks_fault(folder):
        return fault
    if not path.exists():
        return ""
    try:
        link = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        with closing(link) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE sweeper_doctor (content BLOB)")
            database.execute("INSERT INTO sweeper_doctor VALUES (zeroblob(100000))")
            database.execute("DROP TABLE sweeper_doctor")
            database.execute("COMMIT")
    except sqlite3.Error as error:
        return str(error)
    return ""


def _server_fault(url: str) -> str:
    """Why the server does not answer at all; the libraries would retry for minutes."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
        if parts.hostname and port:
            socket.create_connection((parts.hostname, port), SERVER_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return f"no server answers there ({error})"
    return ""
