"""The published readings: a sample of them is predicted as docs/memory.md says."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sweeper import predict_vram
from sweeper.memory.predict.calibration import FITTED

BENCH = Path(__file__).resolve().parents[3] / "benchmarks" / "bench_vram.py"


@pytest.fixture(scope="module")
def bench(traces: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_vram", BENCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_vram"] = module
    spec.loader.exec_module(module)
    module.DEFAULT_DIR = traces
    return module


def test_a_sample_is_predicted(bench: ModuleType) -> None:
    """`make bench-vram` goes through all of them, each model traced anew for its classes."""
    readings = bench.load(bench.READINGS)
    assert len(readings) == 27
    sparse = [reading for reading in readings if reading.density <= 10][::4]
    errors = [abs(bench.error(reading, FITTED)) for reading in sparse]
    assert len(errors) == 6 and statistics.median(errors) <= 0.04 and max(errors) <= 0.12


def test_the_benchmark_predicts_what_users_get(bench: ModuleType, tmp_path: Path) -> None:
    reading = bench.load(bench.READINGS)[0]
    found = predict_vram(
        reading.model,
        batch=reading.batch,
        accumulate=4,
        amp=reading.amp,
        imgsz=reading.imgsz,
        nc=reading.nc,
        optimizer=reading.optimizer,
        boxes_per_image=reading.density,
        cache_dir=tmp_path,
    )
    assert bench.predict(reading, FITTED) == pytest.approx(found.reserved_gib)


def test_units_of_old_releases_are_converted(bench: ModuleType) -> None:
    old = bench.load(bench.READINGS)[1]
    assert old.gib == pytest.approx(1.44e9 / 2**30)


def test_a_summary_counts_what_it_says(bench: ModuleType) -> None:
    line = bench.summary("x", [0.01, -0.02, 0.03, -0.2])
    assert "n   4" in line
    assert "median   2.5%" in line
    assert "under-estimates  25.0%" in line
