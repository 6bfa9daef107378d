"""executor=slurm on a real Slurm, where there is one: one node is enough."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.config.settings import SlurmSettings
from sweeper.doctor.jobs import check_jobs
from sweeper.errors import MachineError
from sweeper.executors.machine import machine_here
from sweeper.study.outcomes import outcome_of
from sweeper.study.storage import open_storage
from sweeper.tracking import read_study
from sweeper.trial.folder import TrialFolder

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    *("executor=slurm", "executor.slots=2", "executor.slurm.cpus=1", "study.name=s"),
    *("batch=2,4", "accumulate=1", "amp=false", "study.rungs=[2]", "train.epochs=40"),
    *("data.digits.train=32", "data.digits.val=4", "data.imgsz=64", "train.workers=0"),
]


def _fault() -> str:
    if shutil.which("squeue") is None:
        return "no Slurm here: apt-get install slurm-wlm munge, and a slurm.conf"
    done = subprocess.run(["sinfo"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(_fault()), reason=_fault())


@pytest.fixture
def scheduler(tmp_path: Path):
    from sweeper.executors.slurm import SlurmScheduler

    return lambda **settings: SlurmScheduler(SlurmSettings(**settings), tmp_path / "slurm")


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sweeper", "-m", *ARGUMENTS, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def jobs() -> list[str]:
    """Those that wait or run: Slurm lists one a while longer, as it cleans up."""
    command = ["squeue", "--me", "--noheader", "--states=PD,R", "--format=%i %j"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line.endswith("sweeper-s")]


def await_(
    what: Callable[[], object], study: subprocess.Popen[str], patience_s: float = 60
) -> None:
    give_up_at = time.monotonic() + patience_s
    while not what():
        assert study.poll() is None, study.communicate()[0]
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def test_a_job_tells_what_its_node_is(scheduler) -> None:
    found = scheduler(cpus=1).probe()
    assert (found.host, found.cores) == (machine_here().host, 1)
    assert found.versions == machine_here().versions


def test_sbatch_says_itself_what_it_refuses(scheduler) -> None:
    with pytest.raises(MachineError, match="nowhere"):
        scheduler(partition="nowhere").probe()


def test_jobs_and_drivers_die_and_every_cell_is_decided_once(tmp_path: Path) -> None:
    """A job is cancelled under the driver, the driver is shot, another one goes on."""
    trial = TrialFolder.of(tmp_path / "runs/s/trials", 0)
    first = start(tmp_path)
    await_(trial.events.exists, first)
    taken = (trial.read_job() or "").removeprefix("slurm:")
    subprocess.run(["scancel", "--signal=USR2", taken], check=True)
    await_(lambda: taken not in (trial.read_job() or taken), first)
    first.kill()
    first.communicate()
    assert jobs(), "what it had submitted runs without it"
    second = start(tmp_path)
    said, _ = second.communicate(timeout=180)
    assert second.returncode == 0, said
    assert "its job goes on" in said
    study = read_study(f"sqlite:///{tmp_path}/runs/mlflow.db", "sweeper", "s")
    assert sorted(t.spec.batch for t in study.trials) == [2, 4]
    assert all(t.state in {"complete", "pruned"} for t in study.trials)
    import optuna

    stored = optuna.load_study(
        study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/runs/optuna.db")
    )
    assert len(stored.trials) == 2 and all(outcome_of(t) for t in stored.trials)
    assert not jobs()


def test_a_stop_leaves_no_job_in_the_queue(tmp_path: Path) -> None:
    """One that runs, and one that waits: the node has two cores."""
    study = start(tmp_path, "executor.slots=3", "batch=2,4,8", "study.name=s")
    await_(lambda: len(jobs()) == 3, study)
    study.send_signal(signal.SIGINT)
    said, _ = study.communicate(timeout=60)
    assert study.returncode == 130, said
    assert not jobs()
    assert "The same command goes on" in said


def test_the_doctor_asks_a_job_what_trials_will_find(tmp_path: Path) -> None:
    settings = compose_settings(
        ["executor=slurm", "executor.slurm.cpus=1", f"runs_dir={tmp_path}"]
    )
    found = check_jobs(settings)
    assert found.text.startswith(f"{machine_here().host}: no GPU; ")
    assert "executor.slurm.gres=gpu:1" in found.remedy
