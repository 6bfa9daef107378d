"""Runs one trial on the machine of a job: ``python -m sweeper.executors.host FOLDER``.

Reads the folder's spec, supervises the training on the device that the job was given, tells what
happens in ``events.jsonl`` and writes ``facts.json`` at the end. It ends the trial when the file
``stop`` appears, and when it is told to go (SIGTERM or SIGUSR2, as schedulers send them).
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sweeper.executors.events import EventLog
from sweeper.executors.machine import CPU, Machine, machine_here
from sweeper.executors.supervise import Supervisor
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import EndedBy, TrialFacts
from sweeper.trial.spec import TrialSpec

HEARTBEAT_S = 5.0
STOP_LOOK_S = 1.0  # the folder may lie on a file server


class Host:
    """The trial of one folder, on this machine.

    Attributes:
        folder: The trial's.
    """

    def __init__(self, folder: TrialFolder) -> None:
        """Nothing runs yet."""
        self.folder, self._log = folder, EventLog(folder.events)
        self._gone = threading.Event()
        self._looked, self._stopped = 0.0, False

    def take_away(self) -> None:
        """End the trial soon, because the machine is wanted for something else."""
        self._gone.set()

    def run(self) -> TrialFacts:
        """Run the trial to its end, and leave its facts in the folder."""
        machine, spec = machine_here(), self.folder.read_spec()
        refused = refusal(spec, machine)
        if refused:
            facts = TrialFacts(refused=refused, host=machine.host)
        else:
            facts = self._train(spec, machine)
        self.folder.write_facts(facts)
        self._log.append("ended")
        return facts

    def _train(self, spec: TrialSpec, machine: Machine) -> TrialFacts:
        device = machine.gpu.uuid if machine.gpu and spec.runs_on != CPU else CPU
        self._log.append("started", host=machine.host, device=device)
        with _heartbeat(self._log):
            facts = Supervisor(self._must_end).run(self.folder, device, self._log)
        if self._gone.is_set() and facts.child is None:
            # The signal goes to all processes of a job: some of them may have died of it.
            facts = replace(facts, no_start="", ended_by=EndedBy.HOST)
        name = machine.kind if device != CPU else CPU
        return replace(facts, host=machine.host, device_name=name)

    def _must_end(self) -> EndedBy | None:
        if self._gone.is_set():
            return EndedBy.HOST
        now = time.monotonic()
        if now - self._looked >= STOP_LOOK_S:
            self._looked, self._stopped = now, self.folder.stop.exists()
        return EndedBy.STUDY if self._stopped else None


def refusal(spec: TrialSpec, machine: Machine) -> str:
    """Why a trial must not run on a machine; empty when it may."""
    for file, what in ((spec.data_yaml, "data set"), (spec.model_file, "model")):
        if "/" in file and not Path(file).exists():
            return (
                f"{machine.host} has no {file}, the {what} of the study. Every machine that runs "
                "its trials needs it at this path."
            )
    if spec.runs_on in {"", CPU}:
        return ""
    if machine.gpu is None:
        said = " ".join(machine.notes)
        return (
            f"{machine.host} shows no GPU, and the study runs on {spec.runs_on}. Ask the "
            f"scheduler for one, e.g. executor.slurm.gres=gpu:1. {said}".rstrip()
        )
    if machine.crowd:
        return machine.crowd
    if machine.kind != spec.runs_on:
        return (
            f"{machine.host} has the device {machine.kind}, and the study runs on {spec.runs_on}, "
            "for which its budget and times hold. Ask for one kind, e.g. with "
            "executor.slurm.constraint or executor.ray.accelerator, or give another study.name."
        )
    return ""


@contextmanager
def _heartbeat(log: EventLog) -> Iterator[None]:
    """Show that this machine lives, whatever the training does."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            log.append("heartbeat")

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main(folder: str) -> None:
    """Run the trial of a folder."""
    host = Host(TrialFolder(Path(folder)))
    for number in (signal.SIGTERM, signal.SIGUSR2):  # the latter is submitit's
        signal.signal(number, lambda number, frame: host.take_away())
    host.run()


if __name__ == "__main__":
    main(sys.argv[1])
