"""What came of verifying a plan, as a table, sentences and records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper.numbers import NOTHING, change, gib
from sweeper.plan.cells import Setup
from sweeper.plan.predictions import Found
from sweeper.plan.verify import Tried, Verification, Verified
from sweeper.trial.readings import EMULATED

Names = Callable[[Setup], list[str]]
NUMBERS = ("batch", "accumulate", "predicted GiB", "at most")


def title(verification: Verification) -> str:
    """``Verified on NVIDIA T4 (measured)``."""
    device = verification.device
    return f"Verified on {device.name} ({device.source})"


def rows(verification: Verification, head: list[str], names: Names) -> list[list[str]]:
    """One row for each training below a head; ``names`` says of which setup."""
    peak = f"{verification.device.source} GiB"
    found = [[*names(v.setup), *_row(t)] for v in verification.setups for t in v.tried]
    return [[*head, *NUMBERS, peak, "predicted off", "s/batch", "outcome"], *found]


def sentences(verification: Verification, head: list[str], names: Names) -> list[str]:
    """What follows for each setup, and what does not."""
    said = []
    for verified in verification.setups:
        model, *more = names(verified.setup)
        facets = (f", {key} {value}" for key, value in zip(head[1:], more, strict=True))
        said.append(f"{model}{''.join(facets)}: {_truth(verified)}: {_said(verified.found)}.")
    if verification.elsewhere:
        said.append(f"Not verified, as they are not here: {', '.join(verification.elsewhere)}.")
    if verification.device.source == EMULATED:
        said.append("The CPU computes for an emulated card: seconds say nothing of a GPU.")
    return said


def records(verification: Verification, names: Callable[[Setup], dict[str, Any]]) -> list[Any]:
    """Plain data for JSON."""
    source = verification.device.source
    return [
        {
            **names(verified.setup),
            "device": verification.device.name,
            "trains": verified.trains,
            "fails": verified.fails,
            "readings": [{**_record(t), "vram_source": source} for t in verified.tried],
        }
        for verified in verification.setups
    ]


def _row(tried: Tried) -> list[str]:
    cell, off = tried.cell, change(tried.cell.peak_gib, tried.peak_gib)
    return [
        f"{cell.batch}",
        f"{cell.accumulate}",
        gib(cell.peak_gib),
        gib(cell.upper_gib),
        gib(tried.peak_gib),
        NOTHING if off is None else f"{off:+.1f} %",
        NOTHING if tried.batch_s is None else f"{tried.batch_s:.3g}",
        tried.result.outcome.value,
    ]


def _truth(verified: Verified) -> str:
    """``batch 23 trains, 24 does not``."""
    trains, fails = verified.trains, verified.fails
    if trains is None:
        return "nothing trained" if fails is None else f"batch {fails} does not train"
    if fails is None:
        return f"batch {trains} trains, nothing larger was tried"
    between = "" if fails == trains + 1 else ", nothing between was tried"
    return f"batch {trains} trains, {fails} does not{between}"


def _said(found: Found) -> str:
    """``the prediction said fits up to 21, tight up to 24``."""
    if found.tight is None:
        return "the prediction said nothing fits"
    fits = f"fits up to {found.largest.batch}" if found.largest else "nothing fits surely"
    tight = f", tight up to {found.tight.batch}" if found.tight != found.largest else ""
    return f"the prediction said {fits}{tight}"


def _record(tried: Tried) -> dict[str, Any]:
    cell, peak_gib = tried.cell, tried.peak_gib
    return {
        "batch": cell.batch,
        "accumulate": cell.accumulate,
        "predicted_gib": round(cell.peak_gib, 3),
        "predicted_upper_gib": round(cell.upper_gib, 3),
        "peak_gib": None if peak_gib is None else round(peak_gib, 3),
        "batch_s": tried.batch_s,
        "outcome": tried.result.outcome,
        "reason": tried.result.reason,
    }
