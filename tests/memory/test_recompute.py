"""Activation checkpointing changes no gradient and no statistic."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from sweeper.memory.recompute import recompute

BATCH = {
    "img": torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
    "batch_idx": torch.tensor([0.0, 1.0, 1.0]),
    "cls": torch.zeros(3, 1),
    "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.5]]),
}


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    found.args = get_cfg()
    return found.train()


def two_steps(model: Any, part: str, amp: bool) -> tuple[list[torch.Tensor], int]:
    """Losses, gradients, weights and statistics; how often a convolution ran forward."""
    trained = copy.deepcopy(model)
    recompute(trained, part)
    runs: list[None] = []
    trained.model[2].cv1.conv.register_forward_hook(lambda *_: runs.append(None))
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            losses.append(trained(BATCH)[0].sum())
        losses[-1].backward()
        optimizer.step()
    gradients = [p.grad for p in trained.parameters() if p.grad is not None]
    return [*losses, *gradients, *trained.parameters(), *trained.buffers()], len(runs)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("part", ["backbone", "all"])
def test_a_step_is_the_same_bit_for_bit(model: Any, part: str, amp: bool) -> None:
    plain, once = two_steps(model, "none", amp)
    found, twice = two_steps(model, part, amp)
    assert (once, twice) == (2, 4)
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
