"""A full disk, a locked database, a hung child: said, survived, resumed."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from sweeper.errors import EXIT_INTERRUPTED
from sweeper.trial.record import Outcome
from tests.conftest import Listener, Submitted, link_traces
from tests.executors.test_local import trial_process
from tests.study.test_optuna_study import ask_next, complete, open_study
from tests.test_end_to_end import SMALL, sweeper

ROOT = Path(__file__).parents[1]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 5 MiB; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let the test mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_and_the_same_command_goes_on_when_there_is_space(
    small_disk: Path, tmp_path: Path, traces: Path
) -> None:
    link_traces(small_disk / "runs", traces)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(4_700_000))
    command = ["-m", "batch=4", "accumulate=1,2", "amp=false", f"runs_dir={small_disk}/runs"]
    command += ["study.name=full", *SMALL]
    stopped = sweeper(tmp_path, *command)
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "disk" in stopped.stderr or "space" in stopped.stderr
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    done = sweeper(tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2/2" in done.stdout


def test_a_database_locked_by_another_process_is_waited_for(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    trial, _ = ask_next(study)
    other = sqlite3.connect(tmp_path / "optuna.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(3, other.rollback).start()
    started = time.monotonic()
    study.tell(trial, complete(0.5))
    assert time.monotonic() - started > 2
    assert study.best()[0].map50 == 0.5
    other.close()


def test_a_child_that_hangs_is_ended(executor, make_spec, tmp_path: Path) -> None:
    frozen = threading.Event()

    def freeze() -> None:
        if not frozen.is_set():
            frozen.set()
            os.killpg(trial_process().pid, signal.SIGSTOP)

    spec = make_spec(epochs=100, stall_timeout_s=5.0)
    result = Submitted(executor, spec, tmp_path, Listener(on_progress=freeze)).result()
    assert result.outcome is Outcome.TIMEOUT
    assert "no sign of life for study.stall_timeout_s=5" in result.reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_settings_are_composed_ends_the_command_without_a_traceback(
    number: signal.Signals,
) -> None:
    words = [sys.executable, "-c", SIGNALLED, str(int(number))]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (EXIT_INTERRUPTED, "")


SIGNALLED = """
import os, sys
from sweeper import __main__, cli

number = int(sys.argv.pop())
cli._hydra_main = lambda: os.kill(os.getpid(), number)
__main__.main()
"""


def test_a_study_of_which_every_trial_crashes_is_reported_and_ends_with_an_error(
    tmp_path: Path, traces: Path
) -> None:
    link_traces(tmp_path / "runs", traces)
    image = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(image, "bmp")
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
        for i in range(4):
            cut = image.getvalue()[:2000]  # only its header is looked at beforehand
            (tmp_path / f"data/images/{split}/{i}.bmp").write_bytes(cut)
            (tmp_path / f"data/labels/{split}/{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data/data.yaml").write_text("train: images/train\nval: images/val\nnames: [a]\n")
    data = ["data=custom", "data.yaml=data/data.yaml", "data.imgsz=64", "train.epochs=1"]
    cells = ["batch=2,4", "accumulate=1", "amp=false", "vram=rtx3090", "study.name=cut"]
    ended = sweeper(tmp_path, "-m", *data, *cells, "train.workers=0")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "No answer: no trial completed" in ended.stdout
    assert "every trial that ran has crashed" in ended.stderr
    assert "runs/cut/trials/0001/log.txt" in ended.stderr
    assert "| crashed |" in (tmp_path / "runs/cut/report.md").read_text()
