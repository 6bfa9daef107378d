"""The deployment table as one markdown document."""

from __future__ import annotations

from typing import Any

from sweeper.deploy.advice import claims, recommendations
from sweeper.deploy.rows import Deployment, Row, Status
from sweeper.report.findings import LEAST_MAP50
from sweeper.report.markdown import Table, render_table


def render(deployment: Deployment) -> str:
    """The whole document."""
    rows = list(deployment.rows)
    measured = any(r.speeds for r in rows)
    sections = [
        f"# Deployment of {deployment.study}",
        f"From {deployment.origin}.",
        _untrained(rows),
        "## Speed and memory",
        _table(speed_table(rows, deployment.conditions["gpu"]))
        if measured
        else "Nothing could be measured; the reasons are below.",
        _conditions(deployment),
        "## Agreement with the .pt",
        _table(agreement_table(rows)),
        *_left_out(deployment),
        "## Which one to use",
        _table(recommendations(deployment)),
        "## The article's claims",
        _table(claims(deployment)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _untrained(rows: list[Row]) -> str:
    """A warning where the .pt itself detects nothing, so that nothing can disagree with it."""
    map50 = rows[0].map50
    if map50 is None or map50 >= LEAST_MAP50:
        return ""
    return (
        f"**These weights detect next to nothing (mAP@0.5 {map50:.3f}).** Sizes and times hold; "
        "that an export agrees with them says little. Train longer, or study.keep_best=true."
    )


def _table(rows: list[list[str]]) -> str:
    header, *body = rows
    return render_table(Table(header, body, left=tuple(header)))


def speed_table(rows: list[Row], gpu: bool) -> list[list[str]]:
    """Header and one row per format that was measured."""
    measured = [r for r in rows if r.speeds]
    header = ["format", "ran", "status", "file MiB", "load ms", "reload ms"]
    for speed in measured[0].speeds:
        b = f"b{speed.batch}"
        header += [f"{b} median ms", f"{b} p95 ms", f"{b} images/s", f"{b} × .pt"]
    header += ["peak RSS MiB"] + (["peak GPU GiB (allocator)", "(NVML)"] if gpu else [])
    return [header, *(_speed_row(r, gpu) for r in measured)]


def _speed_row(row: Row, gpu: bool) -> list[str]:
    cells = [row.name, row.ran, row.status.value, _number(row.size_mib, 1)]
    cells += [_number(1000 * s if s else None, 0) for s in (row.load_s, row.reload_s)]
    for speed in row.speeds:
        cells += [_number(speed.median_ms, 2), _number(speed.p95_ms, 2)]
        cells += [_number(speed.images_per_s, 0), _number(speed.ratio, 2)]
    cells += [_number(row.rss_mib, 0)]
    return cells + ([_number(row.gpu.get(k), 2) for k in ("reserved", "nvml")] if gpu else [])


def agreement_table(rows: list[Row]) -> list[list[str]]:
    """Header and one row per format."""
    header = ["format", "precision", "status", "mAP@0.5", "largest box difference px"]
    header += ["largest score difference", "reason"]
    return [header, *(_agreement_row(r) for r in rows)]


def _agreement_row(row: Row) -> list[str]:
    box, score = ("–" if v is None else f"{v:.2g}" for v in (row.box_px, row.score))
    map50 = _number(row.map50, 4)
    ran = (
        f"{row.precision}, ran {row.ran}" if row.ran not in {"", row.precision} else row.precision
    )
    return [row.name, ran, row.status.value, map50, box, score, row.reason or "–"]


def _conditions(deployment: Deployment) -> str:
    c = deployment.conditions
    versions = ", ".join(f"{k} {v}" for k, v in c["versions"].items())
    shapes = "free batch and image size" if c["dynamic"] else "fixed: batch 1, larger ones split"
    return (
        f"{_where(deployment)}, {c['threads']} core(s), {c['imgsz']} px, {shapes}. "
        f"{c['runs']} passes per batch size in 5 turns with the .pt, {c['warmup']} before each "
        "turn not counted; a pass is the model alone, from a ready input to its raw output. "
        "× .pt is the median over turns. Load: the first in a fresh process, imports done; "
        "reload: median of 5, in turns with the .pt. Peak RSS: above the interpreter with "
        "torch, Ultralytics, ONNX Runtime and OpenVINO imported, which is the same for every "
        f"row. mAP@0.5 on {c['images']} validation images, each letterboxed to the square. "
        f"{versions}.{_crowded(c)}"
    )


def _where(deployment: Deployment) -> str:
    """The device, and what ran elsewhere."""
    conditions, rows = deployment.conditions, deployment.rows
    others = [r.name for r in rows if r.speeds and not r.on_gpu] if conditions["gpu"] else []
    elsewhere = f" ({', '.join(others)}: on the CPU)" if others else ""
    if deployment.emulated:
        return (
            f"Run on {conditions['device']}{elsewhere}: its memory is emulated, all times are "
            "those of the CPU and say nothing of a GPU"
        )
    return f"Measured on {conditions['device']}{elsewhere}"


def _crowded(conditions: dict[str, Any]) -> str:
    """A warning when other programs had the processor; ratios suffer less than times."""
    load, cores = conditions["load"], conditions["cores"]
    if load < cores / 2:
        return ""
    return (
        f" **The machine was busy: load average {load:.1f} on {cores} core(s) before the "
        "measurement. Times are too long and scatter.**"
    )


def _left_out(deployment: Deployment) -> list[str]:
    left = [r for r in deployment.rows if r.status is not Status.OK]
    if not left:
        return []
    lines = "\n".join(f"- {r.name}: {r.status.value}, {r.reason}" for r in left)
    sections = ["## What was not exported or failed", lines]
    if deployment.commands:
        lines = "\n".join(deployment.commands)
        sections += [
            "On a machine with an NVIDIA GPU, from this folder (`--fp16`: TensorRT up to 10):",
            f"```\n{lines}\n```",
        ]
    return sections


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
