"""A scheduler of this machine, for tests: a job is a process."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from sweeper.executors.machine import Machine, machine_here
from sweeper.trial.folder import TrialFolder

ROOT = Path(__file__).parents[2]


class ProcessScheduler:
    """Starts hosts as processes of their own, which outlive whoever submitted them."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def expect(self, trials: int) -> None:
        pass

    def submit(self, folder: TrialFolder) -> str:
        command = [sys.executable, "-m", "sweeper.executors.host", str(folder.path)]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        self.started.append(subprocess.Popen(command, start_new_session=True, env=environ))
        return str(self.started[-1].pid)

    def is_alive(self, job: str) -> bool:
        for process in self.started:
            process.poll()  # reaps it
        return Path(f"/proc/{job}").exists()

    def fetch(self, folder: TrialFolder, job: str) -> None:
        time.sleep(0.1)

    def stop(self, folder: TrialFolder, job: str) -> None:
        folder.stop.touch()

    def cancel(self, job: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(int(job), signal.SIGKILL)

    def why(self, job: str) -> str:
        return "see the terminal"

    def probe(self) -> Machine:
        return machine_here()

    def close(self) -> None:
        for process in self.started:
            process.wait(10)
