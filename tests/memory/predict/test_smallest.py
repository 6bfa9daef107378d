"""What runs of several epochs needed on emulated cards, against what is predicted for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench_smallest as bench


def test_no_run_needed_more_than_is_predicted(
    traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "DEFAULT_DIR", traces)
    readings = [r for r in bench.load(bench.READINGS) if r.case.model == "yolo11n"]
    assert len(readings) == 4
    for reading in readings:
        predicted = reading.predicted
        assert reading.allocated < reading.survived <= predicted
        within = 0.05 if reading.case.allocator == "default" else 0.01
        assert abs(reading.whole / predicted - 1) < within
