"""Measures each export beside the .pt: both alive at once, in turns, on the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sweeper.deploy.agreement import differences, verdict
from sweeper.deploy.formats import Format
from sweeper.deploy.process import Child, ChildFault
from sweeper.deploy.rows import Row, Speed, Status
from sweeper.deploy.scene import Scene
from sweeper.memory.measure.sampler import MemorySampler
from sweeper.numbers import MIB

TURNS = 5  # .pt, export, .pt, export, … for each batch size
RELOADS = 5


@dataclass(slots=True)
class Waits:
    """How long passes took, and how much of it they had no core of the processor, seconds."""

    took_s: float = 0.0
    waited_s: float = 0.0

    def count(self, passes: dict[str, Any]) -> None:
        """Add those of an answer of the bench."""
        self.took_s += passes["took_s"]
        self.waited_s += passes["waited_s"] or 0.0

    @property
    def share(self) -> float:
        """Share of the passes in which other programs had the processor."""
        return self.waited_s / self.took_s if self.took_s else 0.0


@dataclass(slots=True)
class Reference:
    """The .pt, alive while the exports are measured.

    Attributes:
        child: Its bench.
        row: Its numbers as far as known; `finished` adds the latencies of all turns.
        outputs: File of its raw outputs.
        versions: Of the libraries that measure.
        latencies: By batch size, seconds.
        reloads: Seconds.
        waits: Of all its passes.
    """

    child: Child
    row: Row
    outputs: Path
    versions: dict[str, str]
    latencies: dict[int, list[float]] = field(default_factory=dict)
    reloads: list[float] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)

    def finished(self) -> Row:
        """The reference's own row."""
        speeds = tuple(_speed(b, found) for b, found in self.latencies.items())
        reload_s = median(self.reloads) if self.reloads else None
        return replace(self.row, speeds=speeds, reload_s=reload_s, cpu_wait=self.waits.share)


def open_reference(scene: Scene, weights: Path, child: Child) -> Reference:
    """Load the .pt and take its memory, outputs and mAP.

    Raises:
        ChildFault: It cannot be run.
    """
    versions = child.ask("ready")["versions"]
    first = _first_use(scene, child)
    outputs = scene.folder / "logs" / "pt.npy"
    child.ask("predict", batch=scene.deploy.batch, file=str(outputs))
    scored = child.ask("validate", data=scene.data_yaml, batch=scene.deploy.batch)
    child.ask("load")
    row = Row("pt", path=weights.name, size_mib=size_mib(weights), map50=scored["map50"], **first)
    return Reference(child, row, outputs, versions)


def measure(scene: Scene, row: Row, wanted: Format, reference: Reference) -> Row:
    """The row of an export with its numbers; failed when it cannot run or disagrees."""
    waits = Waits()
    try:
        with scene.bench(wanted, scene.folder / row.path) as child:
            child.ask("ready")
            row = replace(row, **_first_use(scene, child))
            speeds = [_race(scene, batch, reference, child, waits) for batch in scene.batches]
            row = replace(row, speeds=tuple(speeds), cpu_wait=waits.share)
            row = replace(row, **_reloads(reference, child))
            return _agree(scene, row, reference, child)
    except (ChildFault, ValueError) as error:
        return replace(row, status=Status.FAILED, reason=f"cannot be measured: {error}")


def _first_use(scene: Scene, child: Child) -> dict[str, Any]:
    """Load in the fresh process, run both batch sizes, and read the peaks."""
    sampler = None if scene.device == "cpu" else MemorySampler(scene.device)
    if sampler is not None:
        sampler.start(child.pid)
    loaded = child.ask("load")
    for batch in scene.batches:
        child.ask("run", batch=batch, runs=1, warmup=scene.deploy.warmup)
    memory = child.ask("memory")
    rss_mib = memory.pop("rss_mib")
    peak = sampler.stop().peak_gib if sampler is not None else None
    gpu = memory | ({"nvml": peak} if peak is not None else {})
    found = {"load_s": loaded["seconds"], "device": loaded["device"], "rss_mib": rss_mib}
    return {**found, "gpu": gpu, **child.ask("precision")}


def _race(scene: Scene, batch: int, reference: Reference, child: Child, waits: Waits) -> Speed:
    """Run both in turns; the ratio is the median over the turns."""
    runs = math.ceil(scene.deploy.runs / TURNS)
    command = {"batch": batch, "runs": runs, "warmup": scene.deploy.warmup}
    all_of_ours: list[float] = []
    ratios: list[float] = []
    for _ in range(TURNS):
        theirs, ours = reference.child.ask("run", **command), child.ask("run", **command)
        reference.waits.count(theirs)
        for passes in (theirs, ours):
            waits.count(passes)
        reference.latencies.setdefault(batch, []).extend(theirs["latencies_s"])
        all_of_ours += ours["latencies_s"]
        ratios.append(median(theirs["latencies_s"]) / median(ours["latencies_s"]))
    return _speed(batch, all_of_ours, ratios)


def _reloads(reference: Reference, child: Child) -> dict[str, Any]:
    """Load both again in turns."""
    pairs = [
        (reference.child.ask("load")["seconds"], child.ask("load")["seconds"])
        for _ in range(RELOADS)
    ]
    reference.reloads += [theirs for theirs, _ in pairs]
    return {
        "reload_s": median(ours for _, ours in pairs),
        "load_ratio": median(theirs / ours for theirs, ours in pairs),
    }


def _agree(scene: Scene, row: Row, reference: Reference, child: Child) -> Row:
    """The row with its agreement; failed beyond the tolerance."""
    outputs = scene.folder / "logs" / f"{row.name}.npy"
    child.ask("predict", batch=scene.deploy.batch, file=str(outputs))
    box_px, score = differences(reference.outputs, outputs)
    map50 = child.ask("validate", data=scene.data_yaml, batch=scene.deploy.batch)["map50"]
    assert reference.row.map50 is not None
    row = replace(row, box_px=box_px, score=score, map50=map50)
    reason = verdict(row, reference.row.map50, scene.deploy.max_map_drop)
    return replace(row, status=Status.FAILED, reason=reason) if reason else row


def _speed(batch: int, latencies_s: Sequence[float], turns: Sequence[float] = ()) -> Speed:
    middle, p95 = map(float, np.percentile(latencies_s, [50, 95]))
    ratio = median(turns) if turns else 1.0
    return Speed(batch, 1000 * middle, 1000 * p95, batch / middle, ratio, tuple(turns))


def size_mib(path: Path) -> float:
    """Size of a file, or of all files of a folder, MiB."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / MIB
