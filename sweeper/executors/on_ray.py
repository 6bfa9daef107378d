"""Trials in actors of a Ray cluster, which needs no shared file system: executor=ray."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from sweeper.config.settings import RaySettings
from sweeper.errors import MachineError, SettingsError, first_line
from sweeper.executors.jobs import POLL_S
from sweeper.executors.machine import Machine
from sweeper.executors.ray_actor import bring, machine_text, pieces_of
from sweeper.executors.ray_slots import NAMESPACE, Slots, find_actor, token
from sweeper.training.digits import recipe_of
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json, to_json
from sweeper.trial.spec import TrialSpec

PREFIX = "ray:"  # of a job's id; then come the name of the slot and the trial's folder there
QUEUED = "-"  # for the slot's name while there is none
KNOCK_S = 10.0


class RayScheduler:
    """Slots that take one trial after another: detached actors, found again by their names."""

    def __init__(self, settings: RaySettings, study: str) -> None:
        """Connect.

        Args:
            settings: Where, and what a trial asks for.
            study: Begins the names of the actors.

        Raises:
            SettingsError: No cluster answers.
        """
        self._settings, self._study = settings, study
        self._asked: dict[str, Any] = {}  # the answer that is awaited, by job
        self._gone: set[str] = set()  # jobs that their slots do not know
        self._slots = Slots(study, self._resources)
        try:
            _knock(settings.address)
            with _same_handler(signal.SIGTERM):
                ray.init(
                    settings.address,
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise SettingsError(
                f"executor.ray.address={settings.address}: no Ray cluster answers "
                f"({first_line(error)}). Start one with ray start --head, or give the address of "
                "one that runs."
            ) from error

    def expect(self, trials: int) -> None:
        """Ask for that many slots: they start while the driver predicts what will fit."""
        with suppress(RayError):
            self._slots.expect(trials)

    def submit(self, folder: TrialFolder) -> str:
        """Queue the trial for a slot; a new one begins when a node has room for it."""
        spec = _from_anywhere(folder.read_spec())
        digits = recipe_of(Path(spec.data_yaml))
        trial = f"{token()}/{folder.path.name}"
        job = f"{PREFIX}{QUEUED}/{trial}"
        try:
            files = {
                str(file.relative_to(folder.path)): [ray.put(piece) for piece in pieces_of(file)]
                for file in folder.taken_along
            }
            recipe = to_json(digits) if digits else None
            self._slots.queue(job, (trial, to_json(spec), recipe, files))
        except (RayError, ValueError) as error:
            self.cancel(job)
            raise OSError(f"Ray takes no trial: {first_line(error)}") from error
        return job

    def is_alive(self, job: str) -> bool:
        """Whether it waits here, or the cluster knows the slot, and that the trial."""
        try:
            return self._slots.waits(job) or (job not in self._gone and bool(self._find(job)))
        except RayError:
            return True

    def fetch(self, folder: TrialFolder, job: str) -> None:
        """Wait for news; once the trial has ended bring all of its files, and free its slot."""
        try:
            if not self._slots.has_place(job):
                return
            slot = None if job in self._gone else self._find(job)
            if slot is not None:
                self._hear(slot, folder, job)
                return
        except RayTaskError:  # the slot itself is at fault
            self._gone.add(job)
        except RayError:
            pass
        time.sleep(POLL_S)

    def stop(self, folder: TrialFolder, job: str) -> None:
        """Let the trial end, with what it has."""
        with suppress(RayError):
            if (slot := self._find(job)) is not None:
                slot.stop.remote(self._parts(job)[1])

    def cancel(self, job: str) -> None:
        """End the slot, and with it all that it runs and has written."""
        self._asked.pop(job, None)
        with suppress(RayError):
            self._slots.drop(job)
            if (slot := self._find(job)) is not None:
                ray.kill(slot)

    def why(self, job: str) -> str:
        """Where Ray tells of its actors."""
        return f"see ray logs actor, or Ray's dashboard, for {job.removeprefix(PREFIX)}"

    def probe(self) -> Machine:
        """What a task with the resources of a trial finds.

        Raises:
            MachineError: No node has them, or none can run trials.
        """
        settings = self._settings
        self._require_node()
        probe = ray.remote(machine_text).options(max_retries=0, **self._resources())
        try:
            text = ray.get(probe.remote())
        except RayError as error:
            raise MachineError(
                f"executor=ray: a task on {settings.address} failed ({_fault(error)}). Install "
                "this version of sweeper on every node, where its Ray runs."
            ) from error
        machine = replace(from_json(Machine, text, "a node's answer"), cores=settings.cpus)
        return machine if settings.gpus else machine.with_gpus(())

    def close(self) -> None:
        """Give the slots back, and leave the cluster, which goes on."""
        with suppress(RayError):
            self._slots.close()
        ray.shutdown()

    def _hear(self, slot: Any, folder: TrialFolder, job: str) -> None:
        name, trial = self._parts(job)
        if folder.read_job() == job != f"{PREFIX}{name}/{trial}":
            folder.write_job(f"{PREFIX}{name}/{trial}")  # for a driver that comes back
        heard = folder.events.stat().st_size if folder.events.exists() else 0
        asked = self._asked.pop(job, None) or self._slots.begun.pop(job, None)
        asked = asked or slot.look.remote(trial, heard)
        if not ray.wait([asked], timeout=POLL_S)[0]:
            self._asked[job] = asked
            return
        look = ray.get(asked)
        if look is None:
            self._gone.add(job)
            return
        with folder.events.open("ab") as events:
            events.write(look.events)
        for file, (size, content) in look.files.items():
            bring(slot, trial, file, size, content, folder.path / file)
        if look.files:
            slot.forget.remote(trial)
            self._slots.give_back(name)

    def _find(self, job: str) -> Any:
        """The slot of a job; None where there is none, or the job is another executor's."""
        return find_actor(self._parts(job)[0]) if job.startswith(PREFIX) else None

    def _parts(self, job: str) -> tuple[str, str]:
        """The name of a job's slot, and the trial's folder there."""
        name, *trial = job.removeprefix(PREFIX).rsplit("/", 2)
        return self._slots.names.get(job, name), "/".join(trial)

    def _resources(self) -> dict[str, Any]:
        settings = self._settings
        kind = {"accelerator_type": settings.accelerator} if settings.accelerator else {}
        return {"num_cpus": settings.cpus, "num_gpus": settings.gpus, **kind}

    def _require_node(self) -> None:
        """Raise where a trial would wait forever."""
        wanted = {"CPU": self._settings.cpus, "GPU": self._settings.gpus}
        if self._settings.accelerator:
            wanted[f"accelerator_type:{self._settings.accelerator}"] = 0.001
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(all(node.get(k, 0) >= n for k, n in wanted.items()) for node in nodes):
            return
        has = "; ".join(_describe(node) for node in nodes)
        raise MachineError(
            f"No node of executor.ray.address={self._settings.address} has what a trial asks for "
            f"({_describe(wanted)}), they have: {has}. Lower executor.ray.cpus, set "
            "executor.ray.gpus=0 to train on the CPU, or add a node."
        )


def _knock(address: str) -> None:
    """Raise an OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_S).close()


@contextmanager
def _same_handler(number: signal.Signals) -> Iterator[None]:
    """Keep Ray from handling a signal: its own code may swallow what the handler raises."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def _from_anywhere(spec: TrialSpec) -> TrialSpec:
    """The spec with absolute paths: a node works in a folder of its own."""
    model = Path(spec.model_file)
    return replace(
        spec,
        data_yaml=str(Path(spec.data_yaml).absolute()),
        model_file=str(model.absolute()) if model.exists() else spec.model_file,
    )


def _describe(resources: dict[str, float]) -> str:
    """``CPU 8, GPU 1``, without what Ray counts besides."""
    kinds = ("CPU", "GPU", *(k for k in resources if k.startswith("accelerator_type:")))
    return ", ".join(f"{k} {resources.get(k, 0):g}" for k in kinds)


def _fault(error: RayError) -> str:
    """The last line of what a node says: it begins with Ray's own frames."""
    return str(error).strip().splitlines()[-1]
