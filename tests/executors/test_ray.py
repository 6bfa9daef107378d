"""Trials as actors of a real Ray cluster of two nodes, on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from sweeper.config.settings import RaySettings
from sweeper.errors import MachineError, SettingsError
from sweeper.executors import jobs
from sweeper.executors.jobs import JobExecutor
from sweeper.study.display import StudyDisplay
from sweeper.study.trials import Trials
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import EndedBy, Outcome
from tests.conftest import Listener, Submitted

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'sweeper[ray]'")
from ray.cluster_utils import Cluster  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from sweeper.executors.on_ray import RayScheduler  # noqa: E402

ROOT = Path(__file__).parents[2]
SPARE = {"no_monitor": True, "include_log_monitor": False, "include_dashboard": False}
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20, **SPARE}


@dataclass(frozen=True)
class Nodes:
    """The cluster, and the folder for temporary files of its nodes."""

    cluster: Cluster
    temporary: Path

    @property
    def settings(self) -> RaySettings:
        return RaySettings(self.cluster.address, gpus=0, cpus=1)

    def left(self) -> list[str]:
        """What trials have left on the nodes: folders, processes."""
        folders = [str(path) for path in self.temporary.glob("sweeper-*")]
        running = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
        return folders + [line for line in running if str(self.temporary / "sweeper-") in line]

    def require_nothing_left(self) -> None:
        until(lambda: not self.left())
        assert ray.util.list_named_actors(all_namespaces=True) == []


def leave(executor: JobExecutor, nodes: Nodes) -> None:
    executor.close()
    ray.init(nodes.cluster.address)
    nodes.require_nothing_left()


def until(true: Callable[[], bool], patience_s: float = 60) -> None:
    give_up = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Ray's sockets need a short path, and it leaves files where it takes its temporary ones."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        cluster.add_node(**NODE)
        yield Nodes(cluster, folder)
        cluster.shutdown()
    shutil.rmtree(folder)


@pytest.fixture
def executor(nodes: Nodes, tmp_path: Path, monkeypatch) -> Iterator[JobExecutor]:
    monkeypatch.setattr(jobs, "LINGER_S", 1.0)
    monkeypatch.setattr(jobs, "ASK_S", 0.5)
    handler = signal.getsignal(signal.SIGTERM)
    opened = JobExecutor(RayScheduler(nodes.settings, "test"), 1, tmp_path / "machine.json")
    assert signal.getsignal(signal.SIGTERM) is handler
    yield opened
    opened.close()
    assert not ray.is_initialized()


@pytest.fixture
def elsewhere(tiny_data: Path, tmp_path: Path) -> Path:
    """The data.yaml of digits that are not on the node; how they are composed is known."""
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(tiny_data.parent / "recipe.json", folder)
    return Path(os.path.relpath(folder / "data.yaml"))  # as runs_dir=runs makes it


def test_a_trial_goes_out_and_all_it_leaves_comes_back(
    nodes, executor, make_spec, elsewhere, tmp_path: Path
) -> None:
    listener = Listener()
    spec = make_spec(data_yaml=str(elsewhere), epochs=2, until=1, keep_weights=True)
    trial = Submitted(executor, spec, tmp_path / "t", listener)
    facts, result = trial.future.result(), trial.result()
    assert result.outcome is Outcome.COMPLETE and result.paused, result.reason
    assert facts.child is not None and facts.child.epochs == tuple(listener.reports)
    assert trial.folder.read_child() == facts.child and trial.folder.read_facts() == facts
    here = {str(p.relative_to(tmp_path / "t")) for p in (tmp_path / "t").rglob("*.*")}
    left = {"args.yaml", "results.csv", "log.txt", "weights/best.pt", "checkpoints/0001.pt"}
    assert left <= here and not [name for name in here if name.endswith(".part")]
    assert trial.folder.read_spec() == spec
    leave(executor, nodes)


def test_a_driver_that_was_killed_finds_its_trial_again_and_closing_ends_it(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    folder = TrialFolder(tmp_path / "t")
    folder.prepare(make_spec(epochs=1000))
    words = [sys.executable, "-c", DRIVER, nodes.cluster.address, folder.path]
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT)
    assert driver.stdout is not None and driver.stdout.readline() == b"trains\n"
    driver.kill(), driver.wait(), driver.stdout.close()
    listener = Listener()
    future = executor.reattach(folder, listener)
    assert future is not None
    until(lambda: len(listener.reports) > 2)
    assert [r.epoch for r in listener.reports] == [*range(1, len(listener.reports) + 1)]
    leave(executor, nodes)
    assert future.result().ended_by is EndedBy.STUDY


DRIVER = """
import sys
from pathlib import Path
from sweeper.config.settings import RaySettings
from sweeper.executors.jobs import JobExecutor
from sweeper.executors.on_ray import RayScheduler
from sweeper.trial.folder import TrialFolder

class Watcher:
    def on_progress(self, done, total): print("trains", flush=True)
    def on_epoch(self, report): return False

scheduler = RayScheduler(RaySettings(sys.argv[1], gpus=0, cpus=1), "test")
folder = TrialFolder(Path(sys.argv[2]))
executor = JobExecutor(scheduler, 1, folder.path / "machine.json")
executor.submit(folder, Watcher()).result()
"""


def test_a_job_that_this_cluster_does_not_know_is_not_alive(executor) -> None:
    scheduler = executor._scheduler
    assert not scheduler.is_alive("17") and not scheduler.is_alive("ray:test/0001/12345678")


def test_a_trial_that_waits_for_room_is_alive_until_it_is_taken_away(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    scheduler, folder = executor._scheduler, TrialFolder(tmp_path / "t")
    scheduler._settings = RaySettings(nodes.cluster.address, gpus=0, cpus=2)
    folder.prepare(make_spec())
    job = scheduler.submit(folder)
    scheduler.fetch(folder, job)
    assert scheduler.is_alive(job)
    scheduler.cancel(job)
    until(lambda: not scheduler.is_alive(job))
    assert nodes.left() == []


def test_a_data_set_that_the_node_has_not_is_refused(executor, make_spec, tmp_path) -> None:
    spec = make_spec(data_yaml=str(tmp_path / "mine.yaml"))
    result = Submitted(executor, spec, tmp_path / "t", Listener()).result()
    assert result.outcome is Outcome.CRASHED
    assert f"has no {tmp_path}/mine.yaml, the data set of the study" in result.reason


def test_what_a_trial_will_find_is_asked_of_a_node(nodes, executor) -> None:
    machine = executor.machine()
    assert (machine.kind, machine.cores, machine.threads) == ("cpu", 1, 1)
    executor._scheduler._settings = RaySettings(nodes.cluster.address, cpus=1, accelerator="A100")
    wanted = r"\(CPU 1, GPU 1, accelerator_type:A100 0\.001\), they have: CPU 1, GPU 0; CPU 1,"
    with pytest.raises(MachineError, match=wanted):
        executor._scheduler.probe()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_without_a_cluster_the_address_is_named(address: str) -> None:
    said = f"executor.ray.address={address}: no Ray cluster answers .*ray start --head"
    with pytest.raises(SettingsError, match=said):
        RayScheduler(RaySettings(address), "test")


def test_trials_one_after_another_share_a_slot_that_goes_with_the_study(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    for name in ("0000", "0001", "0002"):
        result = Submitted(executor, make_spec(), tmp_path / name, Listener()).result()
        assert result.outcome is Outcome.COMPLETE, result.reason
        (slot,) = ray.util.list_named_actors(all_namespaces=True)
        assert (tmp_path / name / "job").read_text().startswith(f"ray:{slot['name']}/")
    assert len(list(nodes.temporary.glob("sweeper-*"))) == 1
    until(lambda: not list(nodes.temporary.glob("sweeper-*/trials/*")))
    leave(executor, nodes)


def test_a_slot_that_is_expected_starts_before_its_trial(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    executor.expect(9)
    (expected,) = ray.util.list_named_actors(all_namespaces=True)
    assert ray.get(slot_named(expected).__ray_ready__.remote(), timeout=60) is not None
    result = Submitted(executor, make_spec(), tmp_path / "0000", Listener()).result()
    assert result.outcome is Outcome.COMPLETE, result.reason
    assert (tmp_path / "0000" / "job").read_text().startswith(f"ray:{expected['name']}/")
    assert ray.util.list_named_actors(all_namespaces=True) == [expected]
    leave(executor, nodes)


def test_an_expected_slot_that_gave_up_is_not_waited_for(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    executor.expect(1)
    (expected,) = ray.util.list_named_actors(all_namespaces=True)
    slot = slot_named(expected)
    ray.get(slot.__ray_ready__.remote())
    ray.kill(slot)
    until(lambda: ray.util.list_named_actors(all_namespaces=True) == [])
    result = Submitted(executor, make_spec(), tmp_path / "0000", Listener()).result()
    assert result.outcome is Outcome.COMPLETE, result.reason
    assert len(executor._scheduler._slots.names) == 1, "it was not given the trial"
    leave(executor, nodes)


def test_slots_that_are_not_needed_any_more_are_given_back(nodes, executor) -> None:
    executor.expect(1)
    until(lambda: len(list(nodes.temporary.glob("sweeper-*"))) == 1)
    executor.expect(0)
    until(lambda: nodes.left() == [])
    leave(executor, nodes)


def slot_named(found: dict[str, str]) -> Any:
    return ray.get_actor(found["name"], found["namespace"])


def test_trials_that_wait_for_room_take_the_slots_that_become_free(
    nodes, make_spec, tmp_path: Path
) -> None:
    executor = JobExecutor(RayScheduler(nodes.settings, "test"), 4, tmp_path / "machine.json")
    folders = [tmp_path / f"000{number}" for number in range(5)]
    trials = [Submitted(executor, make_spec(), folder, Listener()) for folder in folders]
    assert [trial.result().outcome for trial in trials] == [Outcome.COMPLETE] * 5
    slots = {(folder / "job").read_text().rsplit("/", 2)[0] for folder in folders}
    assert len(slots) == 2, "the cluster has room for two"
    until(lambda: len(ray.util.list_named_actors(all_namespaces=True)) == 2)
    leave(executor, nodes)
    ray.shutdown()


def test_a_trial_ends_where_the_process_that_runs_it_dies_and_its_slot_too(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    listener = Listener()
    trial = Submitted(executor, make_spec(epochs=1000), tmp_path / "t", listener)
    until(lambda: bool(listener.reports))
    (home,) = nodes.temporary.glob("sweeper-*")
    (keeper,) = [
        p for p in psutil.process_iter(["cmdline"]) if str(home) in (p.info["cmdline"] or ())
    ]
    keeper.kill()
    assert trial.future.result().ended_by is EndedBy.HOST
    nodes.require_nothing_left()


KEEP = """
import sys
from pathlib import Path
from sweeper.executors import ray_node
ray_node.IDLE_S, ray_node.KEEP_S = 3.0, 0.1
ray_node.keep(Path(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.parametrize("trial", ["", "12345678/0000"])
def test_a_slot_that_nobody_asks_for_gives_its_resources_back(
    trial: str, make_spec, tmp_path: Path
) -> None:
    home = tmp_path / "kept"
    home.mkdir()
    if trial:
        TrialFolder(home / "trials" / trial).prepare(make_spec(data_yaml="/nowhere"))
    actor = subprocess.Popen(["sleep", "100"])
    words = [sys.executable, "-c", KEEP, home, str(actor.pid)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, cwd=ROOT, bufsize=0) as keeper:
        keeper.stdin.write(f"{trial}\n".encode())
        assert actor.wait(60) == -signal.SIGTERM
    assert not home.exists()


ENDED_EARLY = """
import os, signal, sys
from sweeper.executors.ray_node import main
def end():
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], end)
main(sys.argv[1])
"""


@pytest.mark.parametrize("before", ["fork", "setsid"])
def test_a_keeper_that_is_ended_with_its_actor_leaves_no_folder(
    before: str, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", ENDED_EARLY, tmp_path / "home", before]
    subprocess.run(words, cwd=ROOT, timeout=60)
    assert not (tmp_path / "home").exists()


def test_a_trial_whose_node_goes_is_run_again_on_another_one_from_its_checkpoint(
    nodes, executor, make_spec, tmp_path: Path
) -> None:
    """The last one: it takes a node away."""
    trials = Trials(tmp_path, executor, None, StudyDisplay(Console(quiet=True)), measured=False)
    spec = make_spec(number=7, epochs=4, until=1)
    first = trials.run_one(spec)
    assert first.paused, first.reason

    class Holder:
        pass

    for slot in ray.util.list_named_actors():
        ray.kill(ray.get_actor(slot))  # it would hold on to its node
    head = NodeAffinitySchedulingStrategy(nodes.cluster.head_node.node_id, soft=False)
    holder = ray.remote(Holder).options(num_cpus=1, scheduling_strategy=head).remote()
    ray.get(holder.__ray_ready__.remote())
    taken = threading.Thread(target=take_away, args=(nodes, trials.folder(7), holder))
    taken.start()
    second = trials.run_one(spec.going_on(first, until=None))
    taken.join()
    assert second.outcome is Outcome.COMPLETE and second.trained == 4, second.reason
    assert second.epochs[0] == first.epochs[0], "it did not begin anew"
    assert trials._taken_away[7] == 1
    leave(executor, nodes)


def take_away(nodes: Nodes, folder: TrialFolder, holder: Any) -> None:
    """Kill the other node as soon as the next part of the trial has started there."""
    before = folder.read_job()
    until(lambda: folder.read_job() not in (None, before))
    until(lambda: folder.events.exists() and b"started" in folder.events.read_bytes())
    (other,) = nodes.cluster.worker_nodes
    nodes.cluster.remove_node(other, allow_graceful=False)
    ray.kill(holder)
