"""Keep traces on disk, under a key of everything they depend on."""

from __future__ import annotations

import hashlib
import io
import json
import os
from contextlib import suppress
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sweeper.memory.predict.architecture import Architecture
from sweeper.memory.predict.polynomials import SectionTrace, StepTrace

FORMAT = 7  # raise it whenever what `trace` writes changes
DEFAULT_DIR = Path("runs/cache/vram")
DIGEST_SIZE = hashlib.sha256().digest_size  # a trace follows its checksum
ARRAYS = ("numbers", "coefficients", "kept")


def load_trace(
    architecture: Architecture,
    nc: int,
    amp: bool,
    cache_dir: Path,
    checkpoint: str = "none",
    freeze: int = 0,
) -> StepTrace:
    """A trace from the cache, or traced now (the only place that imports torch) and cached."""
    key = _key(architecture, nc, amp, checkpoint, freeze)
    file = cache_dir / f"{key}.trace"
    trace = read(file)
    if trace is None:
        from sweeper.memory.predict.trace import trace_step

        trace = trace_step(architecture, nc, amp, checkpoint, freeze)
        with suppress(OSError):  # a folder that cannot be written costs time, not the answer
            write(file, trace)
    return trace


def read(file: Path) -> StepTrace | None:
    """The trace in a file; a missing or damaged one is a miss."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return _unpack(content)


@lru_cache(maxsize=4)  # a plan asks for the same trace again and again
def _unpack(content: bytes) -> StepTrace | None:
    digest, packed = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if hashlib.sha256(packed).digest() != digest:
        return None
    with np.load(io.BytesIO(packed), allow_pickle=False) as data:
        names = dict.fromkeys(name.partition("/")[0] for name in data.files if "/" in name)
        return StepTrace(
            sections={s: SectionTrace(*(data[f"{s}/{a}"] for a in ARRAYS)) for s in names},
            anchors=float(data["anchors"]),
            stride=int(data["stride"]),
            count_rates=data["count_rates"],
        )


def write(file: Path, trace: StepTrace) -> None:
    """Write beside the file, then rename: another process sees all of it or nothing."""
    arrays = {
        f"{name}/{array}": getattr(section, array)
        for name, section in trace.sections.items()
        for array in ARRAYS
    }
    for name in ("anchors", "stride", "count_rates"):
        arrays[name] = np.asarray(getattr(trace, name))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    content = packed.getvalue()
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    beside.write_bytes(hashlib.sha256(content).digest() + content)
    beside.replace(file)


@cache
def _versions() -> tuple[str, str]:
    return version("torch"), version("ultralytics")


def _key(architecture: Architecture, nc: int, amp: bool, checkpoint: str, freeze: int) -> str:
    parts = [FORMAT, *_versions(), architecture.digest, nc, amp, checkpoint, freeze]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return f"{architecture.name}-{digest}"
