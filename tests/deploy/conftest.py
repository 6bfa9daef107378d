"""A small study whose winner kept its weights, deployed once for all tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import link_traces
from tests.test_end_to_end import SMALL, sweeper

QUICK = ["deploy.runs=5", "deploy.warmup=1", "deploy.threads=1", "deploy.batch=2"]
DIGITS = [word for word in SMALL if word.startswith("data.")]  # for deploy.weights
QUICK += ["deploy.min_map=0"]  # what is trained for one epoch detects nothing


def deploy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return sweeper(folder, *QUICK, *arguments, module="sweeper.deploy")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> Path:
    """Folder with the study ``small``; one cell, trained for real."""
    folder = tmp_path_factory.mktemp("deploy")
    link_traces(folder / "runs", traces)
    cell = ["batch=4", "accumulate=1", "amp=false", "study.name=small", "study.keep_best=true"]
    done = sweeper(folder, "-m", *cell, *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def deployed(study: Path) -> tuple[Path, str]:
    """The same after ``python -m sweeper.deploy``, and what that printed."""
    for earlier in ("onnx", "ncnn"):
        (study / "runs/small/deploy" / earlier).mkdir(parents=True)
    formats = "torchscript,onnx,onnx_fp16,openvino_fp32,tensorrt"
    asked = ("study.name=small", f"deploy.formats=[{formats}]", "report.article=true")
    done = deploy(study, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    return study / "runs/small", done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB: room for the weights, none for an export."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or sys.platform != "linux":
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
