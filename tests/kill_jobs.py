"""What can be killed of the jobs of a study, and what may be left of them: Slurm and Ray."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

ROOT = Path(__file__).parent.parent


class Jobs(Protocol):
    """The jobs of the studies of a loop."""

    def kill(self, rng: random.Random) -> str:
        """Take something away; what it was, or empty where there is nothing."""
        ...

    def left(self) -> list[str]:
        """What is there of any job."""
        ...


class SlurmJobs:
    """Jobs in the queue of this machine's Slurm."""

    def kill(self, rng: random.Random) -> str:
        """Cancel a job, or shoot the host program of one."""
        if rng.random() < 0.5 and _shoot(_found("submitit.core._submit", "sweeper"), rng):
            return "SIGKILL to a host program"
        if jobs := self.left():
            subprocess.run(["scancel", rng.choice(jobs)], check=True)
            return "scancel of a job"
        return ""

    def left(self) -> list[str]:
        """The numbers of those that wait or run."""
        command = ["squeue", "--me", "--noheader", "--name=sweeper-kill", "--format=%i"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


class RayJobs:
    """Slots on a Ray cluster of two nodes on this machine, the second of which comes and goes.

    Attributes:
        overrides: What sends a study's trials there.
    """

    def __init__(self, cluster: Any, temporary: Path) -> None:
        """``temporary`` is where all of the cluster's temporary files go."""
        self._cluster, self._temporary = cluster, temporary
        self._second = self._add_node()
        self.overrides = (
            *("executor.ray.gpus=0", "executor.ray.cpus=1", "executor.slots=2"),
            f"executor.ray.address={cluster.address}",
        )

    def kill(self, rng: random.Random) -> str:
        """Shoot a worker, or the process that it started; or take a node away for another one."""
        chance, workers, hosts = rng.random(), self._workers(), self._hosts()
        if chance < 0.4:
            return "SIGKILL to a Ray worker" if _shoot(workers, rng) else ""
        if chance < 0.7:  # each outlives the other and tidies up after it
            whole = len(workers) == len(hosts)
            return "SIGKILL to a host program" if whole and _shoot(hosts, rng) else ""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._add_node()
        return "loss of a Ray node"

    def left(self) -> list[str]:
        """Slots, all processes that they have started, and their folders."""
        import ray

        actors = [str(actor) for actor in ray.util.list_named_actors(all_namespaces=True)]
        folders = [str(path) for path in self._temporary.glob("sweeper-*")]
        trains = [p for p in _found("multiprocessing") if _is_told(p, self._temporary)]
        return actors + folders + [" ".join(_words(p)) for p in (*self._hosts(), *trains)]

    def _add_node(self) -> Any:
        return self._cluster.add_node(**NODE)

    def _workers(self) -> list[psutil.Process]:
        nodes = (self._cluster.head_node, self._second)
        raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in nodes]
        children = [child for raylet in raylets for child in raylet.children(recursive=True)]
        return [c for c in children if " ".join(_words(c)).startswith("ray::Slot")]

    def _hosts(self) -> list[psutil.Process]:
        return _found(str(self._temporary / "sweeper-"))


NODE = {
    "num_cpus": 2,
    "num_gpus": 0,
    "object_store_memory": 80 * 2**20,
    "no_monitor": True,
    "include_log_monitor": False,
    "include_dashboard": False,
}


@contextmanager
def ray_jobs() -> Iterator[RayJobs]:
    """Jobs on a cluster that is gone in the end."""
    import ray
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets need a short path
    os.environ |= {
        "RAY_TMPDIR": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        jobs = RayJobs(cluster, folder)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        yield jobs
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _found(*words: str) -> list[psutil.Process]:
    """The processes in whose commands all of the words are."""
    found = ((process, " ".join(_words(process))) for process in psutil.process_iter())
    return [process for process, command in found if all(word in command for word in words)]


def _is_told(process: psutil.Process, temporary: Path) -> bool:
    """Whether its temporary files go there."""
    try:
        return process.environ().get("TMPDIR") == str(temporary)
    except psutil.Error:
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _shoot(processes: list[psutil.Process], rng: random.Random) -> bool:
    """SIGKILL to one of them; False where there is none any more."""
    if not processes:
        return False
    try:
        rng.choice(processes).kill()
    except psutil.NoSuchProcess:
        return False
    return True
