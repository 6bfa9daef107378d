"""Programs: what training and validation ask of the allocator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.architecture import find_architecture
from sweeper.memory.predict.cache import load_trace
from sweeper.memory.predict.optimizers import find_optimizer
from sweeper.memory.predict.programs import Program, Workload, whole_run
from sweeper.numbers import GIB


@pytest.fixture(params=[False, True], ids=["at once", "accumulated"])
def load(request: pytest.FixtureRequest) -> Workload:
    config = MemoryConfig("yolo11n", 10, 3, request.param, False, 96, "AdamW", 6.0)
    return Workload(config, 17.0, find_optimizer("AdamW"))


def program(load: Workload, traces: Path) -> Program:
    return whole_run(load_trace(find_architecture("yolo11n"), 10, False, traces), load)


def test_a_storage_is_born_once_and_dies_once_with_its_size(load: Workload, traces: Path) -> None:
    train, val = program(load, traces).phases
    live: dict[int, int] = {}
    for number, nbytes in (*train, *val):
        if number > 0:
            assert number not in live
            live[number] = nbytes
        else:
            assert live.pop(-number) == -nbytes
    assert live


def test_what_is_live_is_told_by_its_part(load: Workload, traces: Path) -> None:
    found = program(load, traces)
    train, _ = found.phases
    for event in range(0, len(train), 500):
        held = sum(nbytes for _, nbytes in train[: event + 1])
        assert sum(found.live(event).values()) * GIB == held
    trained = found.live(len(train) - 1)
    assert trained["optimizer"] == pytest.approx(2 * trained["weights"], rel=0.1)
    assert trained["gradients"] == trained["activations"] == 0


def test_another_batch_has_the_same_order_and_other_sizes(load: Workload, traces: Path) -> None:
    larger = replace(load, config=replace(load.config, batch=7), boxes=40.0)
    before, after = program(load, traces), program(larger, traces)
    assert (after.order.numbers == before.order.numbers).all()
    grows = abs(after.changes) - abs(before.changes)
    assert grows.min() > -512  # polynomials are rounded
    assert 0.2 < np.mean(grows > 0) < 1
