"""Joining the parent's and the child's view of one peak."""

from __future__ import annotations

from dataclasses import replace

from sweeper.memory.measure.meter import add_part, add_sampled
from sweeper.trial.readings import EMULATED, MEASURED, MemoryReading, SampledPeak

OWN = MemoryReading(
    peak_gib=4.5,
    source=MEASURED,
    method="allocator",
    allocated_gib=3.0,
    reserved_gib=4.0,
    context_gib=0.5,
    note="The context is assumed.",
)


def sampled(peak_gib: float | None, method: str = "process", error: str = "") -> SampledPeak:
    return SampledPeak(
        peak_gib=peak_gib,
        method=method if peak_gib is not None else None,
        samples=9,
        longest_gap_s=0.02,
        exceeded=False,
        error=error,
    )


def joined(view: SampledPeak) -> MemoryReading:
    reading = add_sampled(OWN, view, MEASURED)
    assert reading is not None
    return reading


def test_the_larger_of_both_views_is_the_peak() -> None:
    assert joined(sampled(4.2)) == replace(OWN, nvml_peak_gib=4.2)
    higher = replace(OWN, nvml_peak_gib=4.8, peak_gib=4.8, method="process")
    assert joined(sampled(4.8)) == higher


def test_a_child_that_died_is_known_from_nvml_alone() -> None:
    reading = add_sampled(None, sampled(7.9), EMULATED)
    assert reading is not None
    assert (reading.peak_gib, reading.method, reading.reserved_gib) == (7.9, "process", None)
    assert reading.source == "emulated"
    assert "The child did not report" in reading.note


def test_without_nvml_the_childs_view_stands_with_the_reason() -> None:
    reading = joined(sampled(None, error="NVML is unavailable: gone"))
    assert reading.peak_gib == 4.5
    for said in ("context is assumed", "No NVML reading", "gone"):
        assert said in reading.note


def test_the_growth_of_a_device_is_kept_but_is_not_the_peak() -> None:
    reading = joined(sampled(7.0, "device"))
    assert (reading.peak_gib, reading.method, reading.nvml_peak_gib) == (4.5, "allocator", 7.0)
    assert "NVML hides processes" in reading.note
    assert add_sampled(None, sampled(7.0, "device"), MEASURED) is None


def test_no_view_is_no_reading() -> None:
    assert add_sampled(None, sampled(None), MEASURED) is None


def test_of_two_parts_the_higher_peak_counts_and_every_flush() -> None:
    first = replace(OWN, peak_gib=7.9, alloc_retries=3)
    second = replace(OWN, peak_gib=7.4, alloc_retries=1)
    for one, other in ((first, second), (second, first)):
        assert add_part(one, other) == replace(first, alloc_retries=4)
    assert add_part(None, second) == second and add_part(first, None) == first
    assert add_part(OWN, OWN) == OWN, "flushes that nobody counted are not none"
