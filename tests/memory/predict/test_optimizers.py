"""The table of optimizers against the real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel

from sweeper.memory.predict.optimizers import OPTIMIZERS, find_optimizer
from sweeper.memory.predict.trace import in_optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_the_real_optimizer_has_the_size_in_the_table(name: str) -> None:
    build: Any = DetectionModel
    model = build("yolo11n.yaml", nc=3, verbose=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer: Any = SimpleNamespace(args=SimpleNamespace(lr0=0.01), data={"nc": 3})
    optimizer = BaseTrainer.build_optimizer(trainer, model, name=name, lr=0.01, momentum=0.9)
    optimizer.step()
    held = sum(
        value.numel()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    )
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert held / weights == pytest.approx(OPTIMIZERS[name].states, rel=0.01)


def test_states_are_born_in_the_order_of_the_real_optimizer() -> None:
    build: Any = DetectionModel
    model = build("yolo11n.yaml", nc=3, verbose=False)
    trainer: Any = SimpleNamespace(args=SimpleNamespace(lr0=0.01), data={"nc": 3})
    optimizer = BaseTrainer.build_optimizer(trainer, model, name="AdamW", lr=0.01, momentum=0.9)
    listed = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    real = [parameter for parameter in listed if parameter.requires_grad]  # others have no state
    assert [id(p) for p in in_optimizer(model)] == [id(p) for p in real]


def test_names_are_found_as_ultralytics_finds_them() -> None:
    assert find_optimizer("adamw") == find_optimizer("AdamW") == find_optimizer("auto")
    assert find_optimizer("sgd").states == 1


def test_an_unknown_optimizer_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"optimizer=lion is unknown\. Use one of SGD, Adam,"):
        find_optimizer("lion")
