"""Trials as Slurm jobs, submitted by submitit: executor=slurm."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit

from sweeper.config.settings import SlurmSettings
from sweeper.errors import MachineError, SettingsError
from sweeper.executors import host, machine
from sweeper.executors.jobs import POLL_S
from sweeper.executors.machine import Machine
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json

KIND = "slurm:"  # what the ids of its jobs begin with
SNAPSHOT_S = 2.0  # between two questions to slurmctld
PROBE_GRACE_S = 15.0


class SlurmScheduler:
    """Jobs of a Slurm cluster whose nodes share the file system of ``runs_dir``.

    A job that is taken away is not requeued by Slurm: the study submits another one, which goes
    on from the trial's checkpoint.
    """

    def __init__(self, settings: SlurmSettings, folder: Path) -> None:
        """Ask nothing yet.

        Args:
            settings: What each job asks for.
            folder: Takes submitit's files, the logs of the jobs among them.

        Raises:
            SettingsError: There is no Slurm here, or it knows no such option.
        """
        self._settings, self._folder = settings, folder.resolve()
        self._lock = threading.Lock()
        self._known: frozenset[str] | None = None  # until slurmctld has answered
        self._asked = 0.0
        self._submitter = self._open()

    def expect(self, trials: int) -> None:
        """A job is for one trial: there is nothing to get ready."""

    def submit(self, folder: TrialFolder) -> str:
        """Queue a job that runs the host program.

        Raises:
            OSError: ``sbatch`` refuses it, in its own words.
        """
        return self._submit(host.main, folder.path.resolve())

    def is_alive(self, job: str) -> bool:
        """Whether ``squeue`` lists it; as it was, or yes, where slurmctld does not answer."""
        with self._lock:
            if time.monotonic() - self._asked > SNAPSHOT_S:
                found = _queue()
                self._known = self._known if found is None else found
                self._asked = time.monotonic()
            return job.startswith(KIND) and (self._known is None or job in self._known)

    def fetch(self, folder: TrialFolder, job: str) -> None:
        """The file system is shared, so there is nothing but to wait."""
        time.sleep(POLL_S)

    def stop(self, folder: TrialFolder, job: str) -> None:
        """The host program finds the folder's own ``stop``."""

    def cancel(self, job: str) -> None:
        """``scancel`` it."""
        subprocess.run(["scancel", job.removeprefix(KIND)], capture_output=True, check=False)

    def why(self, job: str) -> str:
        """Where a job's own log is."""
        return f"see {self._folder}/{job.removeprefix(KIND)}_0_log.err"

    def probe(self) -> Machine:
        """Let a job with the same resources look around.

        Raises:
            MachineError: It could not.
        """
        found = self._folder / "machine.json"
        found.unlink(missing_ok=True)
        try:
            job = self._submit(machine.main, found)
        except OSError as error:
            raise MachineError(f"executor=slurm: {error}") from error
        try:
            self._await(found, job)
        finally:
            self.cancel(job)
        here = from_json(Machine, found.read_text(), str(found))
        cores = min(here.cores, self._settings.cpus or here.cores)
        asks = f"{here.host} shows a job no GPU; executor.slurm.gres=gpu:1 asks Slurm for one"
        notes = here.notes if here.gpu else (*here.notes, asks)
        return replace(here, cores=cores, notes=notes)

    def close(self) -> None:
        """There is nothing to leave."""

    def _await(self, found: Path, job: str) -> None:
        gone_at = 0.0
        while not found.exists():
            time.sleep(POLL_S)
            if not gone_at and not self.is_alive(job):
                gone_at = time.monotonic()
            if gone_at and time.monotonic() - gone_at > PROBE_GRACE_S:
                raise MachineError(
                    f"executor=slurm: the job that was to look at its node left nothing in "
                    f"{found.parent}. All nodes need that folder, and this Python; "
                    f"{self.why(job)}."
                )

    def _submit(self, function: Callable[[str], Any], path: Path) -> str:
        try:
            with self._lock:
                job: str = self._submitter.submit(function, str(path)).job_id
                self._known = (self._known or frozenset()) | {KIND + job}
                self._asked = time.monotonic()
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or b"").decode(errors="replace").strip()
            raise OSError(f"sbatch refuses: {said or error}") from error
        except submitit.core.utils.FailedJobError as error:
            raise OSError(f"sbatch refuses: {error}") from error
        return KIND + job

    def _open(self) -> Any:
        asked = self._settings
        try:
            submitter = submitit.SlurmExecutor(self._folder)
        except RuntimeError as error:
            raise SettingsError(
                "executor=slurm needs the commands of Slurm (sbatch, squeue), which are not on "
                "PATH here. Start the study on a login node."
            ) from error
        named = {
            "partition": asked.partition,
            "gres": asked.gres,
            "time": asked.time,
            "constraint": asked.constraint,
            "cpus_per_task": asked.cpus,
        }
        submitter.update_parameters(
            **{name: value for name, value in named.items() if value is not None},
            job_name=f"sweeper-{self._folder.parent.name}",
            signal_delay_s=asked.grace_s,
            additional_parameters={
                "no-requeue": True,
                **({"mem": asked.mem} if asked.mem else {}),
                **asked.extra,
            },
        )
        return submitter


def _queue() -> frozenset[str] | None:
    """The user's jobs that wait or run; None where slurmctld does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else frozenset(KIND + job for job in done.stdout.split())
