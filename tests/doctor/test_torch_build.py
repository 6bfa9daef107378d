"""Torch's build against drivers and cards."""

from __future__ import annotations

import pytest

from sweeper.doctor.torch_build import runs_on
from sweeper.emulator.machine import Card

CHECK = """
from dataclasses import asdict
from sweeper.doctor.torch_build import TorchBuild, check_build
from sweeper.memory.measure.nvml import list_devices
build = TorchBuild({build})
answer(findings=[asdict(f) for f in check_build(build, list_devices())])
"""
# Torch is imported here already; the child that would import it again takes seconds.
START = """
from sweeper.doctor import torch_build
from sweeper.doctor.checks import require_health
from sweeper.errors import MachineError
from sweeper.study.space import study_space
torch_build.run_script = lambda *_, **__: [{build}]
try:
    require_health(study_space([]))
except MachineError as error:
    answer(error=str(error))
"""
OURS = (
    "torch.__version__, torch.version.cuda, torch.version.hip, tuple(torch.cuda.get_arch_list())"
)


def check(machine, build: str = OURS) -> list[dict[str, str]]:
    return machine.run(CHECK.format(build=build))["findings"]


def test_this_torch_runs_on_a_card_of_its_time(card) -> None:
    assert [f["level"] for f in check(card())] == ["ok"]


def test_a_study_does_not_start_on_a_card_without_kernels(card) -> None:
    seen = card(gib=16, name="V100", capability="7.0").run(START.format(build=OURS))
    assert (
        "has no kernels for Emulated V100, compute capability 7.0; it has sm_75" in seen["error"]
    )
    assert "Install torch for CUDA 12.6" in seen["error"]


def test_only_the_cards_without_kernels_are_named(cards) -> None:
    machine = cards(Card(24), Card(24, "later", "13.0"), Card(8, "earlier", "6.1"))
    _, later, earlier = check(machine)
    assert "Emulated later" in later["text"] and later["remedy"] == "Install a newer torch."
    assert "Emulated earlier" in earlier["text"] and "12.6" in earlier["remedy"]


@pytest.mark.parametrize(
    ("torch_cuda", "level"),
    [("13.0", "ok"), ("12.8", "ok"), ("13.2", "warning"), ("14.0", "failure")],
)
def test_the_driver_must_know_the_cuda_of_torch(card, torch_cuda: str, level: str) -> None:
    (found,) = check(card(), f"'2.14.1', '{torch_cuda}', None, ('sm_86',)")
    assert found["level"] == level, found


def test_this_torch_does_not_run_on_a_driver_before_580(card) -> None:
    (found,) = check(card(driver="570.124.06", cuda="12.8"))
    assert found["level"] == "failure" and "driver 570.124.06 knows 12.8" in found["text"]


def test_torch_without_cuda_beside_a_gpu_is_a_failure(card) -> None:
    (found,) = check(card(), "'2.14.1+cpu', None, None, ()")
    assert found["level"] == "failure" and "CUDA_VISIBLE_DEVICES=" in found["remedy"]


@pytest.mark.parametrize(
    ("kernel", "cards"),
    [
        ("sm_86", {(8, 6), (8, 9)}),
        ("sm_90a", {(9, 0)}),
        ("sm_120", {(12, 0), (12, 1)}),
        ("sm_120f", {(12, 0), (12, 1)}),
        ("compute_80", {(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0), (12, 1)}),
        ("compute_90a", {(9, 0)}),
        ("compute_100f", {(10, 0)}),
    ],
)
def test_which_cards_run_a_kernel(kernel: str, cards: set[tuple[int, int]]) -> None:
    known = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0), (12, 1)]
    assert {c for c in known if runs_on(kernel, c)} == cards
