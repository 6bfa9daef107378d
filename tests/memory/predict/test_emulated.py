"""Predictions from mechanism alone against torch's own allocator, on emulated and real cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench_emulated as bench

# Ultralytics is imported once; each cell trains in a fork.
READ = """
import ultralytics
from benchmarks.bench_emulated import Cell, train_in_fork
answer(peaks=[train_in_fork(Cell("yolo11n", *cell)) for cell in {cells}])
"""
CELLS = [
    (4, 1, "bf16", 128, "none", None, 10),
    (3, 2, True, 128, "all"),
    (4, 1, False, 128, "all", 6),
]


@pytest.fixture(scope="module", autouse=True)
def shared(traces: Path) -> None:
    bench.DEFAULT_DIR = traces


def agrees(reading: bench.Reading) -> bool:
    allocated, reserved = bench.predict(reading.cell)
    slack = 0.06 if reading.cell.checkpoint == "all" else 0.03  # docs/memory.md
    return (
        abs(allocated / reading.allocated - 1) <= 0.01
        and abs(reserved / reading.reserved - 1) <= slack
    )


def test_a_card_shows_what_is_predicted(card) -> None:
    machine = card(gib=bench.CARD_GIB, compute="light")
    for cell, peaks in zip(CELLS, machine.run(READ.format(cells=CELLS))["peaks"], strict=True):
        assert agrees(bench.Reading(bench.Cell("yolo11n", *cell), **peaks))


def test_the_readings_that_are_kept_are_still_predicted() -> None:
    readings = [r for r in bench.load(bench.READINGS) if r.cell.model == "yolo11n"]
    assert len(readings) == 26
    assert all(agrees(reading) for reading in readings)


def test_a_gpu_allocates_what_is_predicted_and_reserves_less_than_the_bound() -> None:
    readings = [r for r in bench.load(bench.MEASURED) if r.cell.model == "yolo11n"]
    read = [r for r in readings if r.cell.imgsz == 640]
    assert len(read) == 14
    for reading in read:
        allocated, reserved = bench.errors(reading)
        assert abs(allocated) <= 0.01
        assert abs(reserved) <= (0.02 if reading.cell.amp else 0.04)  # cuDNN's workspaces
        assert bench.is_covered(reading)
