"""Trials as jobs: the host program, how it is followed, found again and ended."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sweeper.config.settings import ExecutorSettings, SlurmSettings
from sweeper.errors import MachineError
from sweeper.executors import jobs
from sweeper.executors.events import EventLog, EventReader
from sweeper.executors.host import refusal
from sweeper.executors.jobs import JobExecutor
from sweeper.executors.machine import Machine
from sweeper.executors.opening import open_executor
from sweeper.memory.measure.nvml import Device
from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import write_json
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import EndedBy, Outcome
from tests.conftest import Listener, Submitted
from tests.executors.schedulers import ProcessScheduler

RTX, T4 = Device(0, "GPU-1", "RTX", 24.0), Device(1, "GPU-2", "T4", 15.0)
REPORT = EpochReport(1, 2.0, 0.1, 0.05, 3.0, 4.0, 5.0, 0.01)


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobExecutor]:
    monkeypatch.setattr(jobs, "LINGER_S", 1.0)
    monkeypatch.setattr(jobs, "ASK_S", 0.2)
    opened = JobExecutor(ProcessScheduler(), 1, tmp_path / "machine.json")
    yield opened
    opened.close()


def test_a_job_runs_a_trial_and_is_found_again(executor, make_spec, tmp_path: Path) -> None:
    """The first driver goes while it trains; another one hears the rest."""
    first = Listener()
    spec = make_spec(epochs=2)
    ongoing = Submitted(executor, spec, tmp_path / "t", first)
    while not first.reports:
        assert not ongoing.future.done(), ongoing.future.result()
        time.sleep(0.05)
    other = JobExecutor(executor._scheduler, 1, tmp_path / "machine.json")
    second = Listener()
    found = other.reattach(ongoing.folder, second)
    assert found is not None
    facts = found.result()
    assert facts.device_name == "cpu" and facts.host == executor.machine().host
    assert ongoing.result().outcome is Outcome.COMPLETE
    assert facts.child is not None and facts.child.epochs == tuple(second.reports)
    assert other.reattach(ongoing.folder, Listener()).result() == facts, "it has left its facts"
    other.close()


def test_a_job_that_is_taken_away_says_so(executor, make_spec, tmp_path: Path) -> None:
    def end() -> None:
        os.kill(int(TrialFolder(tmp_path / "t").read_job() or 0), signal.SIGTERM)

    result = Submitted(executor, make_spec(epochs=1000), tmp_path / "t", Listener(end))
    assert result.future.result().ended_by is EndedBy.HOST
    assert result.result().outcome is Outcome.INTERRUPTED


def test_a_machine_that_goes_without_a_word_is_noticed(executor, make_spec, tmp_path) -> None:
    def kill() -> None:
        os.killpg(int(TrialFolder(tmp_path / "t").read_job() or 0), signal.SIGKILL)

    facts = Submitted(executor, make_spec(epochs=1000), tmp_path / "t", Listener(kill))
    assert facts.future.result().ended_by is EndedBy.HOST


def test_closing_leaves_no_job(make_spec, tmp_path: Path) -> None:
    scheduler = ProcessScheduler()
    executor = JobExecutor(scheduler, 1, tmp_path / "machine.json")
    running = Submitted(executor, make_spec(epochs=1000), tmp_path / "a", Listener())
    waiting = Submitted(executor, make_spec(), tmp_path / "b", Listener())
    while (
        not (tmp_path / "a" / "child.log").exists() and not (tmp_path / "a/events.jsonl").exists()
    ):
        time.sleep(0.05)
    executor.close()
    assert running.result().outcome is Outcome.INTERRUPTED
    assert waiting.result().outcome is Outcome.INTERRUPTED
    assert executor.reattach(running.folder, Listener()) is None, "it was told to stop"
    assert {p.wait(5) for p in scheduler.started} <= {0, -signal.SIGKILL}
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info)]


def test_what_was_found_first_holds_for_the_whole_study(tmp_path: Path) -> None:
    scheduler = ProcessScheduler()
    executor = JobExecutor(scheduler, 1, tmp_path / "study" / "machine.json")
    found = executor.machine()
    scheduler.probe = lambda: replace(found, gpus=(RTX,))
    assert executor.machine() == found and found.gpu is None


def test_a_job_with_several_gpus_ends_the_study_before_it_begins(tmp_path: Path) -> None:
    scheduler = ProcessScheduler()
    scheduler.probe = lambda: Machine("node7", (RTX, T4))
    executor = JobExecutor(scheduler, 1, tmp_path / "machine.json")
    with pytest.raises(MachineError, match=r"node7 shows a job 2 GPUs.*gres=gpu:1"):
        executor.machine()
    assert not (tmp_path / "machine.json").exists()


def test_a_scheduler_that_takes_no_job_is_a_crash(executor, make_spec, tmp_path: Path) -> None:
    def refuse(folder: TrialFolder) -> str:
        raise OSError("sbatch: error: invalid partition specified: gpus")

    executor._scheduler.submit = refuse
    result = Submitted(executor, make_spec(), tmp_path / "t", Listener()).result()
    assert result.outcome is Outcome.CRASHED and "invalid partition" in result.reason


def test_a_job_that_is_lost_before_it_begins_is_no_crash(executor, make_spec, tmp_path) -> None:
    submit, jobs = executor._scheduler.submit, []

    def lose_the_first(folder: TrialFolder) -> str:
        jobs.append(submit(folder))
        if len(jobs) == 1:
            executor._scheduler.cancel(jobs[0])
        return jobs[-1]

    executor._scheduler.submit = lose_the_first
    result = Submitted(executor, make_spec(), tmp_path / "t", Listener()).result()
    assert result.outcome is Outcome.COMPLETE, result.reason
    assert len(jobs) == 2


@pytest.mark.parametrize(
    ("device", "gpus", "said"),
    [
        ("cpu", (), ""),
        ("cpu", (RTX,), ""),
        ("RTX", (RTX,), ""),
        ("RTX", (), "shows no GPU"),
        ("RTX", (T4,), "has the device T4"),
        ("RTX", (RTX, replace(RTX, uuid="GPU-3")), "shows a job 2 GPUs"),
    ],
)
def test_a_machine_that_differs_refuses(make_spec, device: str, gpus, said: str) -> None:
    refused = refusal(make_spec(runs_on=device), Machine("node7", gpus))
    assert said in refused and bool(refused) == bool(said)
    assert not refused or refused.startswith("node7 ")


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    listener, log = Listener(), EventLog(tmp_path / "events.jsonl")
    reader = EventReader(tmp_path / "events.jsonl", listener)
    reader.pass_on()  # no file yet
    log.on_epoch(REPORT)
    whole = (tmp_path / "events.jsonl").read_bytes()
    (tmp_path / "events.jsonl").write_bytes(whole[:-5])
    reader.pass_on()
    assert not listener.reports
    (tmp_path / "events.jsonl").write_bytes(whole)
    reader.pass_on()
    reader.pass_on()
    assert listener.reports == reader.epochs == [REPORT]


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Commands of a Slurm whose queue is a file; it does not answer where there is none."""
    pytest.importorskip("submitit")
    for name, text in {"squeue": f"cat {tmp_path}/queue", "srun": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("sweeper.executors.slurm.SNAPSHOT_S", 0.0)
    return tmp_path / "queue"


def test_a_job_of_slurm_lives_while_the_queue_lists_it(squeue: Path, tmp_path: Path) -> None:
    from sweeper.executors.slurm import SlurmScheduler

    scheduler = SlurmScheduler(SlurmSettings(), tmp_path / "slurm")
    assert scheduler.is_alive("slurm:7"), "nobody has answered yet"
    assert not scheduler.is_alive("ray:s/0000/1234")
    squeue.write_text("7\n8\n")
    assert scheduler.is_alive("slurm:7") and not scheduler.is_alive("slurm:9")
    squeue.unlink()
    assert scheduler.is_alive("slurm:7") and not scheduler.is_alive("slurm:9"), "as it was"
    squeue.write_text("")
    assert not scheduler.is_alive("slurm:7"), "an empty queue is an answer"


def test_what_is_asked_for_may_change_until_there_is_a_trial(squeue, tmp_path, make_spec) -> None:
    pinned = tmp_path / "study" / "machine.json"
    settings = ExecutorSettings("slurm", 1)
    for trial in (False, True):
        pinned.parent.mkdir(exist_ok=True)
        write_json(pinned, Machine("node7"))
        if trial:
            TrialFolder.of(pinned.parent / "trials", 0).prepare(make_spec())
        open_executor(settings, pinned.parent).close()
        assert pinned.exists() == trial
