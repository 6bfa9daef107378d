"""Kills a study at random moments until it ends, then checks its records against each other.

    python -m tests.kill_loop SECONDS [SEED [OVERRIDE ...]]

The long form is ``make soak``; the short one is a test on an emulated card
(tests/test_kill_loop.py). With ``executor=slurm`` among the overrides jobs are cancelled and host
programs shot as well, and none may be left in the queue.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
import psutil

from sweeper.study.optuna_study import outcome_of
from sweeper.study.storage import open_storage
from sweeper.tracking import read_study

ROOT = Path(__file__).parent.parent
COMMAND = [
    *(sys.executable, "-m", "sweeper", "-m", "study.name=kill", "study.rungs=[1,2]"),
    *("batch=2,4,8", "accumulate=1,2", "amp=false", "vram.budget_gib=0.73"),
    *("data.digits.train=16", "data.digits.val=4", "train.epochs=3"),
]
CELLS = 6
TO_A_TRIAL = "SIGKILL to a trial"
TO_A_HOST, TO_A_JOB = "SIGKILL to a host program", "scancel of a job"
STUDY_S = 120  # kills stop after three quarters of it
PARENT_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(
    folder: Path, seconds: float, seed: int, env: Mapping[str, str], more: Sequence[str] = ()
) -> Counter[str]:
    """Start, kill, start again; for the last quarter of ``seconds`` only start.

    ``more``: further overrides.

    Returns:
        How often each kind of kill was made.
    """
    rng = random.Random(seed)
    kills: Counter[str] = Counter()
    in_jobs = "executor=slurm" in more
    deadline = time.monotonic() + 0.75 * seconds
    while True:
        with (folder / "out.txt").open("ab") as output:
            study = subprocess.Popen(
                [*COMMAND, *more],
                cwd=folder,
                env={**env, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        late = time.monotonic() > deadline
        kill = "" if late else _kill_something(study, rng, folder, in_jobs)
        if kill:
            kills[kill] += 1
        code = study.wait(timeout=600)
        ended = code == 0 and kill not in {TO_A_TRIAL, TO_A_HOST, TO_A_JOB}  # its cell runs again
        if ended or not in_jobs:  # which live on without their driver
            _require_no_process_left(folder)
        if ended:
            assert not in_jobs or not _jobs(), "jobs are left in the queue"
            return kills


def _kill_something(
    study: subprocess.Popen[bytes], rng: random.Random, folder: Path, in_jobs: bool
) -> str:
    """After a random while, kill the study or one of its trials."""
    try:
        study.wait(timeout=rng.uniform(1, 18))
        return "ended by itself"
    except subprocess.TimeoutExpired:
        pass
    if in_jobs and rng.random() < 0.6 and (kill := _kill_job(rng, folder)):
        return kill
    trials = _trial_processes(study.pid)
    if trials and rng.random() < 0.4:
        try:
            rng.choice(trials).kill()
        except psutil.NoSuchProcess:
            return "ended by itself"
        return TO_A_TRIAL
    number = rng.choice(PARENT_SIGNALS)
    study.send_signal(number)
    return f"{number.name} to the study"


def _kill_job(rng: random.Random, folder: Path) -> str:
    """Cancel a job, or shoot the host program of one; empty where there is none."""
    hosts = [p for p in psutil.process_iter() if _works_in(p, folder) and _is_host(p)]
    if hosts and rng.random() < 0.5:
        rng.choice(hosts).kill()
        return TO_A_HOST
    jobs = _jobs()
    if jobs:
        subprocess.run(["scancel", rng.choice(jobs)], check=True)
        return TO_A_JOB
    return ""


def _jobs() -> list[str]:
    command = ["squeue", "--me", "--noheader", "--name=sweeper-kill", "--format=%i"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _is_host(process: psutil.Process) -> bool:
    try:
        return "submitit.core._submit" in process.cmdline()
    except psutil.Error:
        return False


def _trial_processes(pid: int) -> list[psutil.Process]:
    """The children that lead a session of their own, as only trials do."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [c for c in children if os.getsid(c.pid) == c.pid]
    except (psutil.NoSuchProcess, ProcessLookupError):
        return []


def _require_no_process_left(folder: Path, patience_s: float = 30.0) -> None:
    """Everything that worked in ``folder`` ends soon after the study does."""
    deadline = time.monotonic() + patience_s
    while left := [p for p in psutil.process_iter() if _works_in(p, folder)]:
        if time.monotonic() > deadline:
            raise AssertionError(f"processes left behind: {[p.cmdline() for p in left]}")
        time.sleep(0.2)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def check(folder: Path) -> Counter[str]:
    """Optuna and MLflow agree, every cell is decided once, and nothing is left open.

    Returns:
        Trials by outcome.
    """
    study = optuna.load_study(
        study_name="kill", storage=open_storage(f"sqlite:///{folder}/runs/optuna.db")
    )
    told = {t.number: t for t in study.trials}
    assert all(t.state.is_finished() for t in told.values()), "a trial is left open"
    outcomes = {n: outcome_of(t).value for n, t in told.items()}
    decided = Counter(
        str(sorted(t.params.items())) for t in told.values() if not outcome_of(t).runs_again
    )
    assert len(decided) == CELLS, "a cell is undecided"
    assert set(decided.values()) == {1}, "a cell was counted twice"
    record = read_study(f"sqlite:///{folder}/runs/mlflow.db", "sweeper", "kill")
    assert record.study.name == "kill"
    logged = Counter(t.number for t in record.trials if t.outcome != "interrupted")
    assert set(logged.values()) == {1}, "a trial has two runs"
    known = {t.number: t.outcome for t in record.trials if t.outcome != "interrupted"}
    assert known == {n: o for n, o in outcomes.items() if o != "interrupted"}
    for trial in record.trials:
        if trial.outcome == "complete":
            assert trial.map50 == told[trial.number].value
    return Counter(outcomes.values())


def main() -> None:
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    started = time.monotonic()
    kills: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    studies = 0
    while time.monotonic() - started < seconds:
        with tempfile.TemporaryDirectory(prefix="sweeper-soak-") as name:
            folder = Path(name).resolve()
            kills += run(folder, STUDY_S, seed + studies, os.environ, sys.argv[3:])
            trials += check(folder)
        studies += 1
        print(f"study {studies}: killed {kills.total()} times so far", flush=True)
    print(f"{studies} studies, {time.monotonic() - started:.0f} s, seeds from {seed}")
    for kind, count in sorted(kills.items()):
        print(f"  {count:3d} x {kind}")
    print(f"  trials by outcome: {dict(trials)}")
    print("  Optuna and MLflow agree; every cell is decided once; no process is left")


if __name__ == "__main__":
    main()
