"""What a launcher adds: trials of about a second on 1 to 8 slots, wall time over the ideal.

    python benchmarks/bench_cluster.py [ray] [slurm] [joblib] [tune] [--slots 8] [--trials 200]

The same waiting times in the same order for all of them. The trials only wait, as many slots share
the cores of this machine: what is measured is all that stands around a training. ``ray`` and
``slurm`` are a whole ``python -m sweeper -m`` with folders, Optuna and MLflow (sweeper's host and
its child per trial included; torch is not imported, see `stand_in`); ``joblib`` is Hydra's
launcher, sent as many tasks at once as there are slots, which is how a sweeper that learns from
results must; ``tune`` is Ray Tune with a function. ``sbatch`` submits the same waiting times to
Slurm at once, without any sweeper, and so shows what Slurm itself adds.

The wall time counts from the beginning of the first trial to the end of the last one. Beside it:
the same from when every slot has begun, as eight slots that start on two cores take turns, and
what passes before the first trial begins. Two trials more than there are slots are submitted to
Ray and Slurm (`executor.slots`), so that no slot waits for the driver. Slurm's node must have as
many CPUs as the most slots, or a multiple; the jobs of fewer slots ask for more of them each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SLOTS = (1, 2, 4, 8)
Span = tuple[float, float]  # when a trial began and ended, Unix seconds


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        waits: Milliseconds of each trial, all different.
        slots: How many run at once.
        folder: Takes what the launcher writes.
        environ: For its processes.
    """

    waits: tuple[int, ...]
    slots: int
    folder: Path
    environ: dict[str, str]

    @property
    def ideal_s(self) -> float:
        """What the trials would take if nothing stood between them."""
        return sum(self.waits) / 1000 / self.slots

    def call(self, *words: str) -> None:
        """Run a command to its end, and raise with what it said if it fails."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{words[:4]} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")

    def study(self, *overrides: str) -> list[Span]:
        """A study with a trial for each waiting time."""
        self.call(
            *(sys.executable, "-m", "sweeper", "-m", "train.epochs=1", "study.rungs=[]"),
            *("batch=2", "accumulate=1", "amp=false"),
            f"seed={','.join(map(str, self.waits))}",
            *(
                "study.name=waiting",
                "vram=rtx3090",
                f"executor.slots={self.slots + 2}",
                *overrides,
            ),
        )
        found = []
        for file in self.folder.glob("runs/waiting/trials/*/child.json"):
            (epoch,) = json.loads(file.read_text())["epochs"]
            found.append((epoch["time"] - epoch["train_time_s"], epoch["time"]))
        return found


@contextmanager
def cluster(work: Work) -> Iterator[str]:
    """A Ray cluster of one node with as many CPUs as slots; its address."""
    from ray.cluster_utils import Cluster

    os.environ.update(work.environ)
    spare = {"no_monitor": True, "include_log_monitor": False, "include_dashboard": False}
    opened = Cluster(
        initialize_head=True, head_node_args={"num_cpus": work.slots, "num_gpus": 0, **spare}
    )
    try:
        yield opened.address
    finally:
        opened.shutdown()


def on_ray(work: Work) -> list[Span]:
    """`executor=ray`."""
    with cluster(work) as address:
        here = f"executor.ray.address={address}"
        return work.study("executor=ray", here, "executor.ray.gpus=0", "executor.ray.cpus=1")


def on_slurm(work: Work) -> list[Span]:
    """`executor=slurm`."""
    return work.study("executor=slurm", f"executor.slurm.cpus={cores_of_a_job(work.slots)}")


def cores_of_a_job(slots: int) -> int:
    """What a job must ask the node for, so that no more than ``slots`` of them run at once."""
    asked = ("sinfo", "--noheader", "--format=%n %c")
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    nodes = {node: int(cores) for node, cores in map(str.split, said.splitlines())}
    if len(nodes) != 1:
        raise SystemExit(f"this is measured on one node of Slurm, and here are {len(nodes)}")
    (cores,) = nodes.values()
    if cores % slots:
        raise SystemExit(f"Slurm's node has {cores} CPUs, which {slots} slots cannot share")
    return cores // slots


def by_sbatch(work: Work) -> list[Span]:
    """The waiting times as an array of jobs."""
    waits = " ".join(map(str, work.waits))
    (work.folder / "job.sh").write_text(
        f"#!/bin/bash\nwaits=({waits})\nms=${{waits[$SLURM_ARRAY_TASK_ID]}}\n"
        "begun=$(date +%s.%N)\nsleep $(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))\n"
        "echo $begun $(date +%s.%N) >$ms\n"
    )
    array = f"--array=0-{len(work.waits) - 1}%{work.slots}"
    cores = f"--cpus-per-task={cores_of_a_job(work.slots)}"
    work.call("sbatch", array, cores, "--output=/dev/null", "--wait", "job.sh")
    return _noted(work)


def by_joblib(work: Work) -> list[Span]:
    """Hydra's joblib launcher, in batches."""
    work.call(
        *(sys.executable, str(ROOT / "benchmarks" / "waiting_app.py"), "-m"),
        f"+ms={','.join(map(str, work.waits))}",
        *("hydra/launcher=joblib", f"hydra.launcher.n_jobs={work.slots}"),
        f"hydra.sweeper.max_batch_size={work.slots}",
    )
    return _noted(work)


def by_tune(work: Work) -> list[Span]:
    """Ray Tune."""
    import ray
    from ray import tune

    def wait(config: dict[str, int]) -> None:
        begun = time.time()
        time.sleep(config["ms"] / 1000)
        (work.folder / str(config["ms"])).write_text(f"{begun} {time.time()}")

    with cluster(work) as address:
        ray.init(address, log_to_driver=False)
        tuner = tune.Tuner(
            tune.with_resources(wait, {"cpu": 1}),
            param_space={"ms": tune.grid_search(list(work.waits))},
            tune_config=tune.TuneConfig(max_concurrent_trials=work.slots),
            run_config=tune.RunConfig(storage_path=str(work.folder / "tune"), verbose=0),
        )
        tuner.fit()
        ray.shutdown()
    return _noted(work)


def _noted(work: Work) -> list[Span]:
    found = []
    for ms in work.waits:
        begun, ended = (work.folder / str(ms)).read_text().split()
        found.append((float(begun), float(ended)))
    return found


LAUNCHERS: dict[str, Callable[[Work], list[Span]]] = {
    "ray": on_ray,
    "tune": by_tune,
    "joblib": by_joblib,
    "slurm": on_slurm,
    "sbatch": by_sbatch,
}


def measure(name: str, waits: tuple[int, ...], slots: int) -> str:
    """Run the trials, and say what they took."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        paths = [str(ROOT / "benchmarks" / "stand_in"), str(ROOT)]
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "NOTES": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        work = Work(waits, slots, Path(folder), environ)
        asked = time.time()
        spans = LAUNCHERS[name](work)
    assert len(spans) == len(waits), f"{name} ran {len(spans)} of {len(waits)} trials"
    begins = sorted(begin for begin, _ in spans)
    ended, all_up = max(end for _, end in spans), begins[slots - 1]
    wall_s, ideal_s = ended - begins[0], work.ideal_s
    left_s = sum(end - max(begin, all_up) for begin, end in spans if end > all_up) / slots
    between_s = (wall_s - ideal_s) * slots / len(waits)
    return (
        f"{name:8}{slots:5}{ideal_s:10.1f} s{wall_s:10.1f} s{wall_s / ideal_s:9.2f}"
        f"{(ended - all_up) / left_s:9.2f}{between_s:10.2f} s{begins[0] - asked:12.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("launchers", nargs="*", metavar="LAUNCHER", help=", ".join(LAUNCHERS))
    parser.add_argument("--slots", nargs="+", type=int, default=SLOTS)
    parser.add_argument("--trials", type=int, default=200)
    asked = parser.parse_args()
    names = asked.launchers or list(LAUNCHERS)
    if shutil.which("sbatch") is None:
        names = [name for name in names if name not in ("slurm", "sbatch")]
        print("no Slurm here: its rows are left out")
    waits = tuple(random.Random(0).sample(range(500, 1500), asked.trials))
    print(
        f"{asked.trials} trials of {sum(waits) / 1000 / asked.trials:.2f} s in the mean, one run"
    )
    print("launcher slots       ideal        wall    ratio   all up   per trial  before first")
    for slots in asked.slots:
        for name in names:
            print(measure(name, waits, slots), flush=True)


if __name__ == "__main__":
    main()
