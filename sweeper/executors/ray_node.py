"""The process that runs the trials of a slot on a Ray cluster, one after another."""

from __future__ import annotations

import os
import select
import shutil
import signal
import threading
import time
from pathlib import Path

from sweeper.executors.host import Host
from sweeper.executors.supervise import warm_up
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import TrialFacts

POLL_S = 0.5
GRACE_S = 30.0
IDLE_S = 60.0  # how long a slot without a trial holds its GPU for a next one
KEEP_S = 3600.0  # how long it does for a driver that comes back to a trial that has ended


def trials_of(home: Path) -> Path:
    """Where a slot has the folders of its trials."""
    return home / "trials"


def keep(home: Path, actor: int) -> None:
    """Run each trial that is named on stdin, and end with the actor.

    Args:
        home: Folder of the slot, removed in the end.
        actor: Process id of the actor; it writes a line whenever somebody asks for news.
    """
    os.chdir(home)  # takes what a training leaves in its working directory
    warm_up()
    asked, host, running = time.monotonic(), None, threading.Thread()
    while True:
        if select.select([0], [], [], POLL_S)[0]:
            told = os.read(0, select.PIPE_BUF).decode()
            if not told:  # the actor is gone
                break
            asked = time.monotonic()
            for trial in told.split():
                host = Host(TrialFolder(trials_of(home) / trial))
                running = threading.Thread(target=_run, args=(host,), daemon=True)
                running.start()
        waits = any(trials_of(home).glob("*"))
        if not running.is_alive() and time.monotonic() - asked > (KEEP_S if waits else IDLE_S):
            os.kill(actor, signal.SIGTERM)
            asked = time.monotonic()
    if host is not None and running.is_alive():
        host.take_away()
        running.join(GRACE_S)
    shutil.rmtree(home)


def _run(host: Host) -> None:
    try:
        host.run()
    except Exception as error:
        said = f"the trial's host ended with {type(error).__name__}: {error}"
        host.folder.write_facts(TrialFacts(no_start=said))


def main(home: str) -> None:
    """Keep a slot, beyond the end of the process that asked for it.

    Whoever makes the folder is there to remove it, even if Ray ends the actor meanwhile, with its
    children and their process group.
    """
    actor = os.getppid()
    made, make = os.pipe()
    if os.fork():
        os.close(make)
        os.read(made, 1)  # ends once the folder is made
        return
    os.setsid()  # out of reach
    Path(home).mkdir(mode=0o700)
    os.close(make)
    keep(Path(home), actor)
