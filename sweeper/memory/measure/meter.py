"""One memory reading per trial, joined from the child's, from NVML in the parent, and by parts."""

from __future__ import annotations

from dataclasses import replace

from sweeper.trial.readings import MemoryReading, SampledPeak


def add_sampled(
    reading: MemoryReading | None, sampled: SampledPeak, source: str
) -> MemoryReading | None:
    """Join the parent's view: ``peak_gib = max(NVML peak, reserved peak + context)``.

    NVML can miss a peak between two samples, the allocator knows nothing outside itself: the
    larger one is the truth. Where NVML shows the whole device only, the child's view stands alone.

    Args:
        reading: The child's view; None when it died before it could report.
        sampled: The parent's view.
        source: What peaks on the device are (``nvml.source_of``).

    Returns:
        The reading, or None when neither side saw the trial's own memory.
    """
    note = " ".join(filter(None, [reading.note if reading else "", *_notes(reading, sampled)]))
    peak_gib = sampled.peak_gib if sampled.method == "process" else None
    if reading is None:
        reading = MemoryReading(peak_gib, source, "process") if peak_gib is not None else None
    elif peak_gib is not None and peak_gib > reading.peak_gib:
        reading = replace(reading, peak_gib=peak_gib, method="process")
    return reading and replace(reading, nvml_peak_gib=sampled.peak_gib, note=note)


def add_part(earlier: MemoryReading | None, reading: MemoryReading | None) -> MemoryReading | None:
    """Join what two parts of a trial took: the higher peak, and the cache flushes of both."""
    if earlier is None or reading is None:
        return reading or earlier
    retries = [r.alloc_retries for r in (earlier, reading) if r.alloc_retries is not None]
    higher = max(reading, earlier, key=lambda r: r.peak_gib)
    return replace(higher, alloc_retries=sum(retries) if retries else None)


def _notes(reading: MemoryReading | None, sampled: SampledPeak) -> list[str]:
    notes = []
    if reading is None:
        notes.append("The child did not report: NVML only.")
    if sampled.peak_gib is None:
        notes.append("No NVML reading.")
    elif sampled.method == "device":
        notes.append("NVML hides processes here: the peak is the allocator's and the context.")
    if sampled.error:
        notes.append(sampled.error)
    return notes
