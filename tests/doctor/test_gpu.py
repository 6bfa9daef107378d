"""The GPU checks against the stub driver, in a process of their own."""

from __future__ import annotations

import pytest

from tests.memory.stub_driver import Driver

GPU = "device GPU-aaaa 24576 300 NVIDIA GeForce RTX 3090\n"

CHECK = """
from dataclasses import asdict
from sweeper.config.compose import compose_settings
from sweeper.doctor import gpu
settings = compose_settings({overrides})
seen, devices = gpu.check_nvml(settings)
found = [seen, *gpu.check_memory(settings, devices), gpu.check_allocator(devices, os.environ)]
answer(findings=[asdict(f) for f in found])
"""

CUDA = """
from dataclasses import asdict
from sweeper.doctor import gpu
answer(**asdict(gpu._compare_cuda("2.14.1", "{cuda}")))
"""


def check(driver: Driver, scenario: str, *overrides: str, **environ: str) -> dict[str, dict]:
    script = CHECK.format(overrides=list(overrides))
    findings = driver.run(script, scenario, **environ)["findings"]
    return {f["check"]: f for f in findings}


def test_an_idle_gpu_is_ok(driver: Driver) -> None:
    found = check(driver, GPU)
    assert {f["level"] for f in found.values()} == {"ok"}
    assert found["gpu"]["text"] == "NVIDIA GeForce RTX 3090 24.0 GiB"
    assert found["gpu memory"]["text"].endswith("idle")


def test_whoever_holds_memory_is_named(driver: Driver) -> None:
    found = check(driver, GPU + "process GPU-aaaa 4711 C 256\n")["gpu memory"]
    assert found["level"] == "warning"
    assert "in use by pid 4711 0.25 GiB" in found["text"]


def test_less_free_memory_than_the_budget_is_a_failure(driver: Driver) -> None:
    busy = "device GPU-aaaa 24576 12288 NVIDIA GeForce RTX 3090\nprocess GPU-aaaa 4711 C 12000\n"
    found = check(driver, busy)["gpu memory"]
    assert found["level"] == "failure"
    assert "12.00 GiB free, budget 22.80 GiB; in use by pid 4711" in found["text"]
    assert "vram.budget_gib=12.0" in found["remedy"]
    assert check(driver, busy, "vram.budget_gib=8")["gpu memory"]["level"] == "warning"


def test_no_gpu_is_fine_and_says_what_is_simulated(driver: Driver) -> None:
    for scenario in ("", "init 9\n"):
        found = check(driver, scenario, "vram=t4")
        assert found["gpu"]["level"] == "ok"
        assert "simulated for t4" in found["gpu"]["text"]
        assert "gpu memory" not in found


def test_a_driver_that_cannot_answer_is_a_failure(driver: Driver) -> None:
    found = check(driver, GPU + "init 18\n")["gpu"]
    assert found["level"] == "failure"
    assert "Reboot the machine" in found["text"]


def test_a_hidden_gpu_is_a_warning(driver: Driver) -> None:
    found = check(driver, GPU, CUDA_VISIBLE_DEVICES="")["gpu"]
    assert found["level"] == "warning"
    assert "CUDA_VISIBLE_DEVICES hides all 1 GPU(s)" in found["text"]


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_an_allocator_without_statistics_is_a_failure_on_a_gpu(driver: Driver, name: str) -> None:
    value = {name: "backend:cudaMallocAsync"}
    found = check(driver, GPU, **value)["allocator"]
    assert (found["level"], found["remedy"]) == ("failure", f"Unset {name} for the study.")
    assert check(driver, "", **value)["allocator"]["level"] == "warning"


@pytest.mark.parametrize(
    ("cuda", "level"), [("13.0", "ok"), ("12.8", "ok"), ("13.2", "warning"), ("14.0", "failure")]
)
def test_the_driver_must_know_the_cuda_of_torch(driver: Driver, cuda: str, level: str) -> None:
    found = driver.run(CUDA.format(cuda=cuda), GPU)
    assert found["level"] == level, found
