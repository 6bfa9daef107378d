"""Trials as actors of a Ray cluster, which needs no shared file system: executor=ray."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from sweeper.config.settings import RaySettings
from sweeper.errors import MachineError, SettingsError, first_line
from sweeper.executors.machine import Machine
from sweeper.executors.ray_node import CHUNK, NodeTrial, machine_text
from sweeper.training.digits import recipe_of
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import from_json, to_json
from sweeper.trial.record import TrialSpec

NAMESPACE = "sweeper"
PREFIX = "ray:"  # of a job's id; the rest is the actor's name
KNOCK_S = 10.0
ANSWER_S = 0.2  # how long to wait for a node's answer before looking after it later


class TrialActor(NodeTrial):
    """The actor of a trial."""

    def __init__(
        self, name: str, spec: str, digits: str | None, files: dict[str, list[Any]]
    ) -> None:
        """Begin with the trial once its files are here, piece by piece out of Ray's store."""
        super().__init__(name, spec, digits)
        for file, pieces in files.items():
            for piece in pieces:
                self.append(file, ray.get(piece))
        self.start()


class RayScheduler:
    """A detached actor for each trial, found again by its name."""

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
        try:
            _knock(settings.address)
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

    def submit(self, folder: TrialFolder) -> str:
        """Send the trial out; it begins when a node has room for it."""
        spec = _from_anywhere(folder.read_spec())
        digits = recipe_of(Path(spec.data_yaml))
        name = f"{self._study}/{folder.path.name}/{uuid.uuid4().hex[:8]}"
        actor = ray.remote(TrialActor).options(
            name=name, lifetime="detached", max_restarts=0, **self._resources()
        )
        try:
            files = {
                str(file.relative_to(folder.path)): [ray.put(piece) for piece in _pieces(file)]
                for file in folder.taken_along
            }
            actor.remote(folder.path.name, to_json(spec), digits and to_json(digits), files)
        except (RayError, ValueError) as error:
            raise OSError(f"Ray takes no trial: {first_line(error)}") from error
        return PREFIX + name

    def is_alive(self, job: str) -> bool:
        """Whether the cluster knows the actor."""
        try:
            return _find(job) is not None
        except RayError:
            return True

    def fetch(self, folder: TrialFolder, job: str) -> None:
        """Bring new events; once the trial has ended all of its files, and end the actor."""
        with suppress(RayError):
            actor = _find(job)
            if actor is None:
                return
            heard = folder.events.stat().st_size if folder.events.exists() else 0
            asked = self._asked.pop(job, None) or actor.look.remote(heard)
            if not ray.wait([asked], timeout=ANSWER_S)[0]:
                self._asked[job] = asked
                return
            look = ray.get(asked)
            with folder.events.open("ab") as events:
                events.write(look.events)
            for name in look.files:
                _bring(actor, name, folder.path / name)
            if look.files:
                ray.kill(actor)

    def stop(self, folder: TrialFolder, job: str) -> None:
        """Let the trial end, with what it has."""
        with suppress(RayError):
            if (actor := _find(job)) is not None:
                actor.stop.remote()

    def cancel(self, job: str) -> None:
        """End the actor, and with it all that it runs and has written."""
        self._asked.pop(job, None)
        with suppress(RayError):
            if (actor := _find(job)) is not None:
                ray.kill(actor)

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
        """Leave the cluster, which goes on."""
        ray.shutdown()

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


def _find(job: str) -> Any:
    """The actor of a job; None where the cluster knows none, or the job is another executor's."""
    if not job.startswith(PREFIX):
        return None
    try:
        return ray.get_actor(job.removeprefix(PREFIX), NAMESPACE)
    except ValueError:
        return None


def _from_anywhere(spec: TrialSpec) -> TrialSpec:
    """The spec with absolute paths: a node works in a folder of its own."""
    model = Path(spec.model_file)
    return replace(
        spec,
        data_yaml=str(Path(spec.data_yaml).absolute()),
        model_file=str(model.absolute()) if model.exists() else spec.model_file,
    )


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(CHUNK):
            yield piece


def _bring(actor: Any, name: str, target: Path) -> None:
    """Copy a file from the actor's folder, whole or not at all."""
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f"{target.name}.part")
    with draft.open("wb") as file:
        while piece := ray.get(actor.read.remote(name, file.tell())):
            file.write(piece)
    os.replace(draft, target)


def _describe(resources: dict[str, float]) -> str:
    """``CPU 8, GPU 1``, without what Ray counts besides."""
    kinds = ("CPU", "GPU", *(k for k in resources if k.startswith("accelerator_type:")))
    return ", ".join(f"{k} {resources.get(k, 0):g}" for k in kinds)


def _fault(error: RayError) -> str:
    """The last line of what a node says: it begins with Ray's own frames."""
    return str(error).strip().splitlines()[-1]
