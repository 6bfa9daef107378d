"""What is known of one export in the end: a frozen, JSON-able row of the deployment table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import Any

from sweeper.str_enum import StrEnum


class Status(StrEnum):
    """What became of a format; only ``ok`` may be recommended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Speed:
    """Passes at one batch size.

    Attributes:
        batch: Images per pass.
        median_ms: Median latency of a pass.
        p95_ms: 95th percentile of the latency.
        images_per_s: ``batch`` over the median.
        ratio: How many times faster than the ``.pt``, median over turns side by side.
        turns: The ratio of each turn; none for the ``.pt`` itself.
    """

    batch: int
    median_ms: float
    p95_ms: float
    images_per_s: float
    ratio: float = 1.0
    turns: tuple[float, ...] = ()

    @property
    def span(self) -> tuple[float, float]:
        """First and third quartile of the turns' ratios: one busy turn says nothing."""
        if len(self.turns) < 2:
            return self.ratio, self.ratio
        low, _, high = quantiles(self.turns, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True, slots=True)
class Row:
    """One format.

    Attributes:
        name: As in ``deploy.formats``; ``pt`` is the reference.
        precision: ``fp32`` or ``fp16``, as stored.
        ran: The precision that computed: OpenVINO takes ``bf16`` where the CPU has it.
        status: What became of it.
        reason: Why it failed or was skipped; empty when ok.
        path: The file or folder, relative to the deployment's own.
        export_s: Duration of the export.
        size_mib: Size of the file or folder.
        device: What the measurement really ran on.
        load_s: First load in a fresh process.
        reload_s: Median of later loads, in turns with those of the ``.pt``.
        load_ratio: How many times faster than the ``.pt`` it reloads.
        rss_mib: Peak resident memory above the interpreter with the same imports; None where
            it did not grow.
        gpu: Peaks on the GPU, GiB: ``allocated``, ``reserved`` (torch's allocator), ``nvml``.
        speeds: Batch 1 and ``deploy.batch``.
        cpu_wait: Share of these passes, those of the ``.pt`` in turns with them included, in which
            other programs had the processor.
        map50: mAP@0.5 on the validation set.
        box_px: Largest difference of a box from the ``.pt``, pixels.
        score: Largest difference of a score from the ``.pt``.
    """

    name: str
    precision: str = "fp32"
    ran: str = ""
    status: Status = Status.OK
    reason: str = ""
    path: str = ""
    export_s: float | None = None
    size_mib: float | None = None
    device: str = ""
    load_s: float | None = None
    reload_s: float | None = None
    load_ratio: float | None = None
    rss_mib: float | None = None
    gpu: dict[str, float] = field(default_factory=dict)
    speeds: tuple[Speed, ...] = ()
    cpu_wait: float = 0.0
    map50: float | None = None
    box_px: float | None = None
    score: float | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether the GPU ran it: a runtime without CUDA takes the CPU where there is a GPU."""
        return self.device.startswith("cuda")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment: its origin, the conditions of every number, and the rows.

    Attributes:
        study: Name of its folder under ``runs_dir``.
        origin: Where the weights come from, for people.
        conditions: What every number depends on.
        rows: One per format, the ``.pt`` first.
        commands: What makes the TensorRT engine elsewhere; empty where it was made here.
        trial: Number of the trial that the weights come from; None for a file of the user's own.
        emulated: Whether the GPU was an emulated card; then times are the CPU's.
        study_map50: mAP@0.5 that the study found for these weights, at this image size.
        folder: Where it lies, as ``runs_dir`` was given.
    """

    study: str
    origin: str
    conditions: dict[str, Any]
    rows: tuple[Row, ...]
    commands: tuple[str, ...]
    trial: int | None = None
    emulated: bool = False
    study_map50: float | None = None
    folder: str = ""


def find(rows: Sequence[Row], name: str) -> Row | None:
    """The row of a format that was measured and agrees."""
    return next((r for r in rows if r.name == name and r.status is Status.OK), None)


def to_json(deployment: Deployment) -> str:
    """The whole deployment, with its `metrics`, as one JSON document.

    `sweeper.trial.study_record.DeploymentRecord` is the part that a report reads.
    """
    return json.dumps({**asdict(deployment), "metrics": metrics(deployment)}, indent=2)


def metrics(deployment: Deployment) -> dict[str, float]:
    """The numbers of every format that agrees, under MLflow's names: ``deploy/onnx/map50``."""
    found: dict[str, float] = {}
    for row in deployment.rows:
        if row.status is not Status.OK:
            continue
        values = {
            "size_mib": row.size_mib,
            "load_s": row.load_s,
            "peak_rss_mib": row.rss_mib,
            "map50": row.map50,
            "box_px": row.box_px,
            "score_difference": row.score,
            **{f"peak_{k}_gib": v for k, v in row.gpu.items()},
        }
        for speed in row.speeds:
            values[f"latency_ms_b{speed.batch}"] = speed.median_ms
            values[f"latency_p95_ms_b{speed.batch}"] = speed.p95_ms
            values[f"images_per_s_b{speed.batch}"] = speed.images_per_s
        found |= {f"deploy/{row.name}/{k}": v for k, v in values.items() if v is not None}
    return found
