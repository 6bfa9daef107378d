"""One memory reading per trial, joined from NVML in the parent and the allocator in the child."""

from __future__ import annotations

from dataclasses import replace

from sweeper.memory.measure.cuda import AllocatorPeaks
from sweeper.trial.record import MemoryReading, SampledPeak


def allocator_reading(
    peaks: AllocatorPeaks, context_gib: float | None, assumed_context_gib: float, source: str
) -> MemoryReading:
    """The child's view: what torch's allocator reserved at most, plus the context.

    Args:
        peaks: The allocator's own statistics.
        context_gib: Measured context; None when it was not measured.
        assumed_context_gib: The card's, used where ``context_gib`` is None.
        source: What peaks on the device are (``nvml.source_of``).
    """
    context = assumed_context_gib if context_gib is None else context_gib
    return MemoryReading(
        peak_gib=peaks.reserved_gib + context,
        source=source,
        method="allocator",
        allocated_gib=peaks.allocated_gib,
        reserved_gib=peaks.reserved_gib,
        train_reserved_gib=peaks.train_reserved_gib,
        val_reserved_gib=peaks.val_reserved_gib,
        context_gib=context,
        alloc_retries=peaks.alloc_retries,
        note="" if context_gib is not None else "The CUDA context is assumed, not measured.",
    )


def add_sampled(
    reading: MemoryReading | None, sampled: SampledPeak, source: str
) -> MemoryReading | None:
    """Join the parent's view: ``peak_gib = max(NVML peak, reserved peak + context)``.

    NVML can miss a peak between two samples, the allocator knows nothing outside itself: the
    larger one is the truth.

    Args:
        reading: The child's view; None when it died before it could report.
        sampled: The parent's view.
        source: What peaks on the device are (``nvml.source_of``).

    Returns:
        The reading, or None when neither side saw anything.
    """
    note = " ".join(filter(None, [reading.note if reading else "", *_notes(reading, sampled)]))
    if sampled.peak_gib is None:
        return None if reading is None else replace(reading, note=note)
    method = sampled.method or "device"
    if reading is None:
        reading = MemoryReading(sampled.peak_gib, source, method)
    elif sampled.peak_gib > reading.peak_gib:
        reading = replace(reading, peak_gib=sampled.peak_gib, method=method)
    return replace(reading, nvml_peak_gib=sampled.peak_gib, note=note)


def _notes(reading: MemoryReading | None, sampled: SampledPeak) -> list[str]:
    notes = []
    if reading is None:
        notes.append("The child did not report: NVML only.")
    if sampled.peak_gib is None:
        notes.append("No NVML reading.")
    elif sampled.method == "device":
        notes.append("NVML by device: growth of other processes counts too.")
    if sampled.error:
        notes.append(sampled.error)
    return notes
