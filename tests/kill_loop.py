"""Kills a study at random moments until it ends, then checks its records against each other.

    python -m tests.kill_loop SECONDS [SEED [servers] [OVERRIDE ...]]

The long form is ``make soak``; the short one is a test on an emulated card
(tests/test_kill_loop.py). With ``executor=slurm`` or ``executor=ray`` among the overrides jobs,
host programs and nodes are taken away as well, and no job may be left; with ``servers`` the study
has PostgreSQL and an MLflow server, which are shot and started again all the while.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import optuna
import psutil

from sweeper.study.outcomes import outcome_of
from sweeper.study.storage import open_storage
from sweeper.tracking import read_study
from tests import mlflow_server, postgres
from tests.kill_jobs import Jobs, SlurmJobs, ray_jobs

ROOT = Path(__file__).parent.parent
COMMAND = [
    *(sys.executable, "-m", "sweeper", "-m", "study.name=kill", "study.rungs=[1,2]"),
    *("batch=2,4,8", "accumulate=1,2", "amp=false", "vram.budget_gib=0.73"),
    *("data.digits.train=16", "data.digits.val=4", "train.epochs=3"),
]
CELLS = 6
SERVERS = "servers"
BY_ITSELF = "ended by itself"
STUDY_S = 120  # kills stop after three quarters of it
JOBS_S = 120  # a slot of Ray waits for a minute for another trial
PARENT_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Server(Protocol):
    """What a study needs and may miss for a while."""

    def start(self) -> None:
        """Start again."""

    def shoot(self) -> None:
        """End at once."""


def run(
    folder: Path,
    seconds: float,
    seed: int,
    env: Mapping[str, str],
    more: Sequence[str] = (),
    jobs: Jobs | None = None,
    servers: Mapping[str, Server] = MappingProxyType({}),
) -> Counter[str]:
    """Start, kill, start again; for the last quarter of ``seconds`` only start.

    Args:
        folder: Where the study is started.
        seconds: How long, about.
        seed: Of the moments and of what is killed.
        env: Of the study.
        more: Further overrides.
        jobs: Where its trials run; None as its children.
        servers: What it uses, by name.

    Returns:
        How often each kind of kill was made.
    """
    rng = random.Random(seed)
    kills: Counter[str] = Counter()
    deadline = time.monotonic() + 0.75 * seconds
    quiet = threading.Event()
    with ThreadPoolExecutor(1) as pool, ExitStack() as at_last:
        at_last.callback(quiet.set)
        shooting = pool.submit(_shoot, servers, random.Random(seed), kills, quiet)
        while True:
            if time.monotonic() > deadline:
                quiet.set()
            if late := quiet.is_set():
                shooting.result()
            study = _start(folder, env, more)
            kill = "" if late else _kill_something(study, rng, jobs)
            if kill:
                kills[kill] += 1
            code = study.wait(timeout=600)
            assert not late or code == 0, (folder / "out.txt").read_text()[-2000:]
            ended = code == 0 and kill in {"", BY_ITSELF}  # else a cell may have to run again
            if ended or jobs is None:  # they live on without their driver
                _require_none_left(lambda: _working_in(folder))
            if ended and jobs is not None:
                _require_none_left(jobs.left, JOBS_S)
            if ended and (late or not servers):
                return kills
            if ended:
                quiet.set()


def _start(folder: Path, env: Mapping[str, str], more: Sequence[str]) -> subprocess.Popen[bytes]:
    with (folder / "out.txt").open("ab") as output:
        return subprocess.Popen(
            [*COMMAND, *more],
            cwd=folder,
            env={**env, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _shoot(
    servers: Mapping[str, Server], rng: random.Random, kills: Counter[str], quiet: threading.Event
) -> None:
    """Shoot the servers, now this one, now that one, and start each again after a while."""
    while servers and not quiet.wait(rng.uniform(2, 15)):
        name = rng.choice([*servers])
        servers[name].shoot()
        kills[f"SIGKILL to {name}"] += 1
        quiet.wait(rng.uniform(0, 10))
        servers[name].start()


def _kill_something(study: subprocess.Popen[bytes], rng: random.Random, jobs: Jobs | None) -> str:
    """After a random while, kill the study or one of its trials."""
    try:
        study.wait(timeout=rng.uniform(1, 40 if jobs else 18))  # jobs take a while to begin
        return BY_ITSELF
    except subprocess.TimeoutExpired:
        pass
    if jobs is not None and rng.random() < 0.6 and (kill := jobs.kill(rng)):
        return kill
    trials = _trial_processes(study.pid)
    if trials and rng.random() < 0.4:
        try:
            rng.choice(trials).kill()
        except psutil.NoSuchProcess:
            return BY_ITSELF
        return "SIGKILL to a trial"
    number = rng.choice(PARENT_SIGNALS)
    study.send_signal(number)
    return f"{number.name} to the study"


def _trial_processes(pid: int) -> list[psutil.Process]:
    """The children that lead a session of their own, as only trials do."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [c for c in children if os.getsid(c.pid) == c.pid]
    except (psutil.NoSuchProcess, ProcessLookupError):
        return []


def _require_none_left(left: Callable[[], list[str]], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while found := left():
        assert time.monotonic() < deadline, f"left behind: {found}"
        time.sleep(0.2)


def _working_in(folder: Path) -> list[str]:
    """The commands of the processes that work in a folder."""
    return [str(p.info["cmdline"]) for p in psutil.process_iter(["cmdline"]) if _is_in(p, folder)]


def _is_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def check(folder: Path, storage: str = "", uri: str = "", may_crash: bool = True) -> Counter[str]:
    """Optuna and MLflow agree, every cell is decided once, and nothing is left open.

    Args:
        folder: Where the study was started.
        storage: Its study.storage; empty for the folder's own.
        uri: Its tracking.uri, likewise.
        may_crash: Whether one that is killed counts as crashed; not where its job is taken away.

    Returns:
        Trials by outcome.
    """
    storage = storage or f"sqlite:///{folder}/runs/optuna.db"
    study = optuna.load_study(study_name="kill", storage=open_storage(storage))
    told = {t.number: t for t in study.trials}
    assert all(t.state.is_finished() for t in told.values()), "a trial is left open"
    outcomes = {n: outcome_of(t).value for n, t in told.items()}
    decided = Counter(
        str(sorted(t.params.items())) for t in told.values() if not outcome_of(t).runs_again
    )
    assert len(decided) == CELLS, "a cell is undecided"
    assert set(decided.values()) == {1}, "a cell was counted twice"
    record = read_study(uri or f"sqlite:///{folder}/runs/mlflow.db", "sweeper", "kill")
    assert record.study.name == "kill"
    logged = Counter(t.number for t in record.trials if t.outcome != "interrupted")
    assert set(logged.values()) == {1}, "a trial has two runs"
    known = {t.number: t.outcome for t in record.trials if t.outcome != "interrupted"}
    assert known == {n: o for n, o in outcomes.items() if o != "interrupted"}
    crashes = [f"{t.number}: {t.reason}" for t in record.trials if t.outcome == "crashed"]
    assert may_crash or not crashes, f"what takes a job away is no crash: {crashes}"
    for trial in record.trials:
        if trial.outcome == "complete":
            assert trial.map50 == told[trial.number].value
    return Counter(outcomes.values())


def soak(
    seed: int, more: Sequence[str], jobs: Jobs | None, served: bool
) -> tuple[Counter[str], Counter[str]]:
    """Run one study in a folder of its own, with servers of its own if it is ``served``.

    Returns:
        How often each kind of kill was made, and the trials by outcome.
    """
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="sweeper-soak-")))
        servers: dict[str, Server] = {}
        places = ("", "")
        if served:
            elsewhere = Path(held.enter_context(tempfile.TemporaryDirectory()))
            mlflow = held.enter_context(mlflow_server.running(elsewhere / "mlflow.db", elsewhere))
            database = held.enter_context(postgres.running())
            servers = {"PostgreSQL": database, "MLflow": mlflow}
            places = (database.url, mlflow.uri)
            more = [*more, f"study.storage={database.url}", f"tracking.uri={mlflow.uri}"]
        kills = run(folder.resolve(), STUDY_S, seed, os.environ, more, jobs, servers)
        return kills, check(folder, *places, may_crash=jobs is None)


def main() -> None:
    """Soak study after study, and print what came of them."""
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    more = [word for word in sys.argv[3:] if word != SERVERS]
    started = time.monotonic()
    kills: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    studies = 0
    with ExitStack() as held:
        jobs: Jobs | None = SlurmJobs() if "executor=slurm" in more else None
        if "executor=ray" in more:
            jobs = held.enter_context(ray_jobs())
            more += jobs.overrides
        while time.monotonic() - started < seconds:
            killed, ended = soak(seed + studies, more, jobs, SERVERS in sys.argv)
            kills, trials, studies = kills + killed, trials + ended, studies + 1
            print(f"study {studies}: killed {kills.total()} times so far", flush=True)
    print(f"{studies} studies, {time.monotonic() - started:.0f} s, seeds from {seed}")
    for kind, count in sorted(kills.items()):
        print(f"  {count:3d} x {kind}")
    print(f"  trials by outcome: {dict(trials)}")
    print("  Optuna and MLflow agree; every cell is decided once; no job and no process is left")


if __name__ == "__main__":
    main()
