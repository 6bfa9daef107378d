"""The published readings: they are predicted, and bounded, as docs/memory.md says."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from benchmarks import bench_vram as bench
from benchmarks.calibrate import GRID, IN_USE, Fit, Replays, classes
from benchmarks.readings import FILES, Reading, load
from sweeper import predict_vram
from sweeper.memory.predict.bound import FACTORS
from sweeper.memory.predict.calibration import FITTED


@pytest.fixture(scope="module")
def readings() -> dict[str, Reading]:
    return {reading.key: reading for reading in load()}


@pytest.fixture(scope="module")
def fit(readings: dict[str, Reading]) -> Fit:
    return Fit.of([*readings.values()], Replays())


def test_readings_are_in_gib_and_know_their_last_batch(readings: dict[str, Reading]) -> None:
    old = readings["published_vram.csv:1"]
    assert old.gib == pytest.approx(1.44e9 / 2**30)
    one = readings["published_vram.csv:15"]
    assert (one.last, one.last_density) == (1, 149)
    assert one.mean(spread=0.8) < 149 / 2  # the largest of many such images lies far above it
    assert readings["published_vram_2.csv:46"].boxes is None


def test_what_is_kept_of_a_reading_is_what_a_replay_shows(
    readings: dict[str, Reading], traces: Path
) -> None:
    replays = Replays()
    for key in ("published_vram.csv:0", "published_vram_2.csv:0"):  # the latter: one batch
        kept, boxes = replays.readings[key], replays.boxes[::8]
        found = bench.replayed(readings[key], boxes, traces)
        assert found == {**kept, "reserved": kept["reserved"][::8]}


def test_the_benchmark_predicts_what_users_get(readings: dict[str, Reading], traces: Path) -> None:
    reading = readings["published_vram.csv:0"]
    mean = reading.mean(IN_USE.spread)
    found = predict_vram(
        reading.model,
        batch=reading.batch,
        accumulate=4,
        amp=reading.amp,
        imgsz=reading.imgsz,
        nc=reading.nc,
        optimizer=reading.optimizer,
        boxes_per_image=mean,
        images=reading.drawn,
        cache_dir=traces,
    )
    assert Replays().predict(reading, IN_USE) == pytest.approx(found.training_gib, rel=0.02)


def test_the_constants_in_use_are_those_of_the_fit(readings: dict[str, Reading], fit: Fit) -> None:
    assert GRID[fit.best()] == IN_USE
    used = (FITTED.workspace_gib, FITTED.workspace_share, FITTED.spread)
    assert used == IN_USE[:3]
    kinds = classes([*readings.values()], IN_USE.spread)
    for level in FACTORS["sparse"]:
        for kind, factor in fit.factors(kinds, level, fit.scores()).items():
            assert factor <= FACTORS[kind][level] <= factor + 1e-3


def test_readings_are_predicted_and_bounded_without_their_source(
    readings: dict[str, Reading], fit: Fit
) -> None:
    judged = bench.judge([*readings.values()], fit)
    assert len(judged) == 90 and len(FILES) == 3
    assert 0.93 <= statistics.mean(j.covered for j in judged) <= 0.98
    sparse = [j for j in judged if j.reading.printed_density <= bench.SPARSE]
    assert len(sparse) == 69
    errors = sorted(abs(j.error) for j in sparse)
    assert statistics.median(errors) <= 0.037 and errors[int(0.9 * len(errors))] <= 0.15
    assert statistics.mean(j.error < bench.UNDER for j in sparse) <= 0.1
    assert statistics.median(j.upper_gib / j.predicted_gib for j in sparse) <= 1.15
    # One of the two says nothing wrong: it read more than its card has.
    assert [j.reading.key for j in judged if j.verdict == "no"] == [
        "published_vram.csv:15",
        "published_vram_2.csv:46",
    ]


def test_no_training_that_ran_out_of_memory_is_said_to_fit(traces: Path) -> None:
    said = bench.out_of_memory(traces)
    assert len(said) == 3
    assert {verdict for _, verdict in said} == {"no"}


def test_a_summary_counts_what_it_says() -> None:
    line = bench.summary("x", [0.01, -0.02, 0.03, -0.2])
    assert "n   4" in line
    assert "median   2.5%" in line
    assert "under-estimates  25.0%" in line
