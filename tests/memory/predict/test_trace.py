"""The short cut (tiny traces, polynomials) against full traces of the real thing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from sweeper.memory.predict.allocator import CachingAllocator, Replay, Replayer
from sweeper.memory.predict.architecture import find_architecture
from sweeper.memory.predict.polynomials import Events, SectionTrace, loss_basis, model_basis
from sweeper.memory.predict.storage_log import StorageLog
from sweeper.memory.predict.trace import trace_step
from sweeper.memory.predict.traced_sections import (
    autocast,
    trace_inference,
    trace_loss,
    trace_model,
)

NC = 20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small convolutions on shared cores crawl when OpenMP's threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _model() -> Any:
    build: Any = DetectionModel
    model = build("yolo11n.yaml", nc=NC, verbose=False)
    model.args = get_cfg()
    model.criterion = model.init_criterion()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".dfl" not in name)
    model.to(memory_format=torch.channels_last)
    return model.train()


def replay(events: Events) -> Replay:
    return Replayer(CachingAllocator()).replay([event for event in events if event[0]])


def _events(sections: list[SectionTrace], basis: list[float]) -> Events:
    return [
        (number, size)
        for section in sections
        for number, size in zip(section.numbers.tolist(), section.sizes(basis), strict=True)
    ]


def _assert_same(short: Events, full: Events) -> None:
    """Same births and deaths, same sizes up to an allocator block (the rulers of the anchors).

    Deaths in one burst are sorted: autocast empties its cache of casts in the order of a hash map.
    """
    for events in (short, full):
        start = 0
        for at, (number, _) in enumerate([*events, (1, 0)]):
            if number > 0:
                events[start:at] = sorted(events[start:at])
                start = at + 1
    assert [number for number, _ in short] == [number for number, _ in full]
    assert all(abs(a - b) < 512 for (_, a), (_, b) in zip(short, full, strict=True))
    assert replay(short).allocated == pytest.approx(replay(full).allocated, abs=8192)
    assert replay(short).reserved == replay(full).reserved


@pytest.mark.parametrize("amp", [False, True])
def test_polynomials_equal_a_full_trace(amp: bool) -> None:
    sections = trace_step(find_architecture("yolo11n"), NC, amp).sections
    model = _model()
    basis = model_basis(3, 320)

    full = trace_model(model, amp, 3, 320)
    _assert_same(
        _events([sections[s] for s in ("forward", "release", "backward")], basis), full.events
    )
    assert sections["backward"].kept.tolist() == full.kept

    ema = _model().eval().requires_grad_(False)
    _assert_same(
        _events([sections["val_forward"]], basis), trace_inference(ema, amp, 3, 320).events
    )

    with torch.no_grad(), autocast(amp):
        preds = model.predict(torch.rand(2, 3, 64, 64))
    whole = trace_loss(model, preds, amp, batch=3, boxes=7, strides=10, side=0.4)
    point = loss_basis(3, 320, 7, [float(n) for n in whole.counts])
    _assert_same(_events([sections[s] for s in ("loss", "loss_backward")], point), whole.events)


@pytest.mark.parametrize("amp", [False, True])
def test_the_parts_put_together_equal_an_undivided_step(amp: bool) -> None:
    """Forward, loss and backward traced apart have the peak of one real step of Ultralytics."""
    trace = trace_step(find_architecture("yolo11n"), NC, amp)
    model = _model()
    batch, imgsz, boxes = 3, 320, 6
    targets = {
        "img": torch.rand(batch, 3, imgsz, imgsz),
        "batch_idx": torch.arange(batch).repeat_interleave(boxes).float(),
        "cls": torch.zeros(batch * boxes, 1),
        "bboxes": torch.full((batch * boxes, 4), 0.3),
    }
    log = StorageLog()
    log.ignore([*model.parameters(), *model.buffers(), *targets.values()])
    with log:
        with autocast(amp):
            loss = model(targets)[0].sum()
        loss.backward()
        del loss
    log.close([])

    basis = model_basis(batch, imgsz)
    point = loss_basis(batch, imgsz, boxes, [float(n) for n in log.counts])
    apart = 10**6  # keeps the numbers of the loss apart from the model's
    numbered = [
        (number + apart if number > 0 else number - apart, size)
        for number, size in _events([trace.sections["loss"]], point)
        if number
    ]
    forward = _events([trace.sections["forward"]], basis)
    assert replay([*forward, *numbered]).allocated == pytest.approx(
        replay(log.events).allocated, rel=0.01
    )


def test_a_trace_leaves_the_random_state_and_the_threads_alone() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    trace_step(find_architecture("yolov8n"), 3, False)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_model_whose_channels_do_not_meet_cannot_be_built(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    wrong = "- [-1, 1, nn.Conv2d, [99, 16, 3, 2, 1]]\n"
    head = "head:\n- [[1], 1, Detect, [nc]]\n"
    file.write_text(f"nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 2]]\n{wrong}{head}")
    with pytest.raises(ValueError, match="99 channels is given 16"):
        trace_step(find_architecture(str(file)), 3, amp=False)


def test_what_dies_together_is_logged_in_one_order() -> None:
    def events(*dying: str) -> Events:
        log = StorageLog()
        with log:
            log.mark("first")
            alive = {name: torch.zeros(size) for name, size in (("a", 8), ("b", 16), ("c", 32))}
            for name in dying[:2]:
                del alive[name]
            log.mark("second")
            del alive[dying[2]]
        return log.close([]).events

    assert events("a", "b", "c") == events("b", "a", "c")  # autocast's copies have no order
    assert events("a", "b", "c") != events("a", "c", "b"), "c belongs to the second section"


def test_a_recomputing_model_is_traced_first_thing_in_a_process() -> None:
    code = (
        "import gc; gc.disable();"
        "from sweeper.memory.predict.trace import trace_step;"
        "from sweeper.memory.predict.architecture import find_architecture;"
        "print(len(trace_step(find_architecture('yolo11n'), 3, True, 'all').sections))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ["10"], done.stderr
