"""The server that children are forked from, hit by signals while it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper import fork_server

SCRIPT = """
import multiprocessing, os, signal
from multiprocessing import resource_tracker
from sweeper.fork_server import PARENTS, start_fork_server

def tell():
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    print(sorted(masked), signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, flush=True)

if __name__ == "__main__":
    for number in PARENTS:
        signal.signal(number, lambda *_: None)
    start_fork_server("slow")
    for number in PARENTS:
        os.killpg(0, number)
    child = multiprocessing.get_context("forkserver").Process(target=tell)
    child.start()
    child.join()
    resource_tracker.ensure_running()  # warns if the signals have ended it
    print(child.exitcode, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
"""
PRELOAD = """
import time
time.sleep(0.5)  # as long as imports may take before the first line below
from sweeper.fork_server import become_server
become_server()
"""


def test_signals_to_the_group_while_it_starts_neither_end_it_nor_stay_blocked(
    tmp_path: Path,
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "slow.py").write_text(PRELOAD)
    root = Path(fork_server.__file__).parents[1]
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    words = [sys.executable, "script.py"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environ, capture_output=True, text=True, start_new_session=True
    )
    assert (done.stdout.splitlines(), done.stderr) == (["[] True", "0 []"], "")


def test_only_locks_that_are_gone_are_kept_silent(capsys: pytest.CaptureFixture[str]) -> None:
    tell = fork_server._tell_all_but_lost_locks
    lock = FileNotFoundError(2, "No such file or directory")
    tell(FileNotFoundError, lock, None)
    assert not capsys.readouterr().err
    with pytest.raises(FileNotFoundError) as gone:
        Path("/nowhere/at/all").read_text()
    tell(FileNotFoundError, gone.value, None)
    assert "/nowhere/at/all" in capsys.readouterr().err
