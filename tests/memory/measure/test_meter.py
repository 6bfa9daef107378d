"""Joining the parent's and the child's view of one peak."""

from __future__ import annotations

from sweeper.memory.measure.cuda import AllocatorPeaks
from sweeper.memory.measure.meter import add_sampled, allocator_reading
from sweeper.memory.measure.sampler import SampledPeak
from sweeper.trial.record import EMULATED, MEASURED, MemoryReading

PEAKS = AllocatorPeaks(
    allocated_gib=3.0,
    reserved_gib=4.0,
    train_reserved_gib=4.0,
    val_reserved_gib=3.5,
    alloc_retries=2,
)


def sampled(peak_gib: float | None, method: str = "process", error: str = "") -> SampledPeak:
    return SampledPeak(
        peak_gib=peak_gib,
        method=method if peak_gib is not None else None,  # type: ignore[arg-type]
        samples=9,
        longest_gap_s=0.02,
        exceeded=False,
        error=error,
    )


def joined(view: SampledPeak, context_gib: float | None = 0.5) -> MemoryReading:
    reading = add_sampled(allocator_reading(PEAKS, context_gib, 0.4, MEASURED), view, MEASURED)
    assert reading is not None
    return reading


def test_the_larger_of_both_views_is_the_peak() -> None:
    low = joined(sampled(4.2))
    assert (low.peak_gib, low.method, low.nvml_peak_gib) == (4.5, "allocator", 4.2)
    high = joined(sampled(4.8))
    assert (high.peak_gib, high.method, high.note) == (4.8, "process", "")


def test_every_part_of_both_views_is_kept() -> None:
    reading = joined(sampled(4.2))
    assert reading == MemoryReading(
        peak_gib=4.5,
        source="measured",
        method="allocator",
        allocated_gib=3.0,
        reserved_gib=4.0,
        train_reserved_gib=4.0,
        val_reserved_gib=3.5,
        context_gib=0.5,
        alloc_retries=2,
        nvml_peak_gib=4.2,
    )


def test_a_child_that_died_is_known_from_nvml_alone() -> None:
    reading = add_sampled(None, sampled(7.9), EMULATED)
    assert reading is not None
    assert (reading.peak_gib, reading.method, reading.reserved_gib) == (7.9, "process", None)
    assert reading.source == "emulated"
    assert "The child did not report" in reading.note


def test_without_nvml_the_allocator_and_the_assumed_context_count() -> None:
    reading = joined(sampled(None, error="NVML is unavailable: gone"), context_gib=None)
    assert (reading.peak_gib, reading.context_gib) == (4.4, 0.4)
    for said in ("context is assumed", "No NVML reading", "gone"):
        assert said in reading.note


def test_a_reading_by_device_is_said() -> None:
    assert "growth of other processes" in joined(sampled(5.0, "device")).note


def test_no_view_is_no_reading() -> None:
    assert add_sampled(None, sampled(None), MEASURED) is None
