import platform
import subprocess
from dataclasses import replace
from pathlib import Path

from sweeper.executors.machine import machine_here
from sweeper.memory.measure.nvml import Device
from sweeper.study.provenance import describe_origin


def test_a_study_says_where_it_ran() -> None:
    origin = describe_origin(replace(machine_here(), gpus=()))
    assert origin["machine"].startswith("no GPU; ") and "GiB RAM" in origin["machine"]
    assert "torch 2." in origin["versions"]
    assert f"Python {platform.python_version()}" in origin["versions"]


def test_the_gpu_comes_first() -> None:
    fields = {"index": 0, "uuid": "GPU-1", "name": "NVIDIA RTX", "total_gib": 24.0}
    known = Device.__dataclass_fields__
    gpu = Device(**{k: v for k, v in fields.items() if k in known})
    assert describe_origin(replace(machine_here(), gpus=(gpu,)))["machine"].startswith(
        "NVIDIA RTX, 24.0 GiB; "
    )


def test_the_commit_is_that_of_this_checkout() -> None:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True)
    if head.returncode == 0:
        assert (
            head.stdout.strip() in describe_origin(replace(machine_here(), gpus=()))["git_commit"]
        )
