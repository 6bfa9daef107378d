"""The sampling of the machine, on the machine that runs the tests."""

import time
from pathlib import Path

import pytest

from sweeper.tracking import system
from sweeper.tracking.system import SystemMetrics
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import SystemSample

NAMES = {
    "cpu_utilization_percentage",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
    "disk_usage_percentage",
    "disk_usage_megabytes",
    "disk_available_megabytes",
    "network_receive_megabytes",
    "network_transmit_megabytes",
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[TrialFolder, TrialFolder]:
    pair = TrialFolder.of(tmp_path, 0), TrialFolder.of(tmp_path, 1)
    for folder in pair:
        folder.path.mkdir()
    return pair


def until(count: int, folder: TrialFolder) -> None:
    give_up_at = time.monotonic() + 10
    while len(folder.read_samples()) < count:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_each_trial_that_runs_has_the_samples_of_its_time(folders, monkeypatch) -> None:
    monkeypatch.setattr(system, "EVERY_S", 0.05)
    monkeypatch.setattr(system, "LEAST_S", 0.0)
    first, second = folders
    heard: list[tuple[TrialFolder, SystemSample]] = []
    metrics = SystemMetrics(lambda folder, sample: heard.append((folder, sample)), gpu=False)
    metrics.enter(first)
    until(2, first)
    metrics.enter(second)
    until(1, second)
    metrics.leave(first)
    ended = first.read_samples()
    until(3, second)
    metrics.leave(second)
    assert first.read_samples() == ended, "it has left"
    assert [s.step for s in ended] == list(range(len(ended)))
    assert all(set(s.values) == NAMES for s in ended)
    assert [s for f, s in heard if f == second] == second.read_samples()


def test_a_short_trial_has_one_sample_of_its_end(folders, monkeypatch) -> None:
    monkeypatch.setattr(system, "LEAST_S", 0.1)
    metrics = SystemMetrics(lambda folder, sample: None, gpu=False)
    metrics.enter(folders[0])
    time.sleep(0.15)
    metrics.leave(folders[0])
    assert [s.step for s in folders[0].read_samples()] == [0]


def test_a_gpu_that_was_lost_is_left_out(folders, monkeypatch) -> None:
    def lost() -> None:
        raise RuntimeError("Failed to initialize NVML")

    monkeypatch.setattr(system, "LEAST_S", 0.0)
    monkeypatch.setattr(system, "GPUMonitor", lost)
    metrics = SystemMetrics(lambda folder, sample: None, gpu=True)
    metrics.enter(folders[0])
    metrics.leave(folders[0])
    assert set(folders[0].read_samples()[0].values) == NAMES


def test_a_disk_that_is_full_ends_no_sampling(folders, monkeypatch) -> None:
    monkeypatch.setattr(system, "LEAST_S", 0.0)
    full, roomy = folders
    metrics = SystemMetrics(lambda folder, sample: None, gpu=False)
    metrics.enter(full)
    (full.path / "system.jsonl").mkdir()  # cannot be written
    metrics.leave(full)
    metrics.enter(roomy)
    metrics.leave(roomy)
    assert len(roomy.read_samples()) == 1


def test_a_driver_that_hangs_holds_up_no_trial(folders, monkeypatch) -> None:
    monkeypatch.setattr(system, "PATIENCE_S", 0.1)
    monkeypatch.setattr(system, "LEAST_S", 0.0)
    metrics = SystemMetrics(lambda folder, sample: time.sleep(1), gpu=False)
    metrics.enter(folders[0])
    started = time.monotonic()
    metrics.leave(folders[0])
    assert time.monotonic() - started < 0.8
