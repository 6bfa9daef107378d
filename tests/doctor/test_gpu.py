"""The GPU checks on emulated cards; what a driver refuses, against a stub of it."""

from __future__ import annotations

import pytest

from sweeper.emulator.machine import Card
from tests.memory.stub_driver import Driver

CHECK = """
import os
from dataclasses import asdict
from sweeper.config.compose import compose_settings
from sweeper.doctor import gpu
settings = compose_settings({overrides})
seen, devices = gpu.check_nvml(settings)
found = [seen, *gpu.check_memory(settings, devices), gpu.check_allocator(devices, os.environ)]
answer(findings=[asdict(f) for f in found])
"""


def check(machine, *overrides: str, **environ: str) -> list[dict[str, str]]:
    return machine.run(CHECK.format(overrides=list(overrides)), **environ)["findings"]


def without_gpu(driver: Driver, scenario: str, *overrides: str, **environ: str) -> list[dict]:
    return driver.run(CHECK.format(overrides=list(overrides)), scenario, **environ)["findings"]


def test_an_idle_gpu_is_ok(card) -> None:
    seen, memory, allocator = check(card(name="RTX 3090"))
    assert (seen["level"], memory["level"], allocator["level"]) == ("ok", "ok", "ok")
    assert seen["text"] == "Emulated RTX 3090 24.0 GiB"
    assert memory["text"].endswith("24.00 GiB free, budget 22.80 GiB, idle")


def test_whoever_holds_memory_is_named(card) -> None:
    machine = card()
    with machine.neighbour(1.0) as pid:
        _, memory, _ = check(machine)
    assert memory["level"] == "warning"
    assert f"in use by pid {pid} 1.00 GiB" in memory["text"]


def test_less_free_memory_than_the_budget_is_a_failure(card) -> None:
    machine = card()
    with machine.neighbour(12.0) as pid:
        _, memory, _ = check(machine)
        _, smaller, _ = check(machine, "vram.budget_gib=8")
    assert (memory["level"], smaller["level"]) == ("failure", "warning")
    assert f"12.00 GiB free, budget 22.80 GiB; in use by pid {pid}" in memory["text"]
    assert "vram.budget_gib=12.0" in memory["remedy"]


def test_what_hidden_pids_hold_is_missing_all_the_same(card) -> None:
    machine = card(pids="container")
    with machine.neighbour(12.0):
        _, memory, _ = check(machine)
    assert memory["level"] == "failure" and "in use by" not in memory["text"]


def test_every_gpu_that_the_slots_use_is_checked_and_no_other(cards) -> None:
    machine = cards(Card(24, "a"), Card(16, "b"), Card(8, "c"))
    with machine.neighbour(12.0, card=1), machine.neighbour(0.35, card=2):
        every = check(machine)
        two = check(machine, "executor.slots=2")
        one = check(machine, "executor.slots=1")
    assert [f["level"] for f in every] == ["ok", "ok", "failure", "warning", "ok"]
    assert "budget 7.60 GiB" in every[1]["text"], "that of the smallest in use"
    assert [f["text"].split(":")[0] for f in two[1:3]] == ["Emulated a", "Emulated b"]
    assert [f["level"] for f in two[1:3]] == ["ok", "failure"]
    assert "budget 15.20 GiB" in two[1]["text"]
    assert [f["level"] for f in one] == ["ok", "ok", "ok"]
    assert one[0]["text"] == "Emulated a 24.0 GiB"


def test_more_slots_than_gpus_is_a_failure(card) -> None:
    seen, *_ = check(card(), "executor.slots=2")
    assert seen["level"] == "failure" and "must not exceed the 1 visible GPU(s)" in seen["text"]


def test_a_hidden_gpu_is_a_warning(card) -> None:
    seen, *_ = check(card(), CUDA_VISIBLE_DEVICES="")
    assert seen["level"] == "warning"
    assert "CUDA_VISIBLE_DEVICES hides all 1 GPU(s)" in seen["text"]


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_an_allocator_without_statistics_is_a_failure_on_a_gpu(card, name: str) -> None:
    value = {name: "backend:cudaMallocAsync"}
    *_, allocator = check(card(), **value)
    assert (allocator["level"], allocator["remedy"]) == ("failure", f"Unset {name} for the study.")
    *_, allocator = check(card(), CUDA_VISIBLE_DEVICES="", **value)
    assert allocator["level"] == "warning"


def test_no_gpu_is_fine_and_says_what_is_simulated(driver: Driver) -> None:
    seen, _ = without_gpu(driver, "", "vram=t4")
    assert seen["level"] == "ok" and "simulated for t4" in seen["text"]


def test_a_driver_that_is_not_loaded_is_a_warning(driver: Driver) -> None:
    seen, _ = without_gpu(driver, "init 9\n", "vram=t4")
    assert seen["level"] == "warning" and "simulated for t4" in seen["text"]
    assert "run nvidia-smi and repair the driver" in seen["remedy"]


def test_a_driver_that_cannot_answer_is_a_failure(driver: Driver) -> None:
    seen, *_ = without_gpu(driver, "init 18\n")
    assert seen["level"] == "failure"
    assert "Reboot the machine" in seen["text"]
