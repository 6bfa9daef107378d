"""The deployment table as one markdown document."""

from __future__ import annotations

from sweeper.deploy.advice import claims, loading, recommendations
from sweeper.deploy.formats import FORMATS, PT
from sweeper.deploy.rows import Deployment, Row, Status, find
from sweeper.report.article import ARTICLE
from sweeper.report.deployment import ON_SQUARES, in_the_study
from sweeper.report.findings import LEAST_MAP50
from sweeper.report.markdown import Table, literal, render_table
from sweeper.waiting import BUSY_SHARE

WEAK_MAP50 = 0.1
FP32_HINT = (
    "`openvino_fp32` is the file of `openvino`; whoever loads it says so first: "
    '`core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})`.'
)


def render(deployment: Deployment, with_article: bool = False) -> str:
    """The whole document; ``with_article``: the article's claims beside it."""
    rows = list(deployment.rows)
    measured = any(r.speeds for r in rows)
    sections = [
        f"# Deployment of {literal(deployment.study)}",
        f"From {literal(deployment.origin)}.",
        _untrained(rows),
        "## Speed and memory",
        _table(speed_table(rows, deployment.conditions["gpu"]))
        if measured
        else "Nothing could be measured; the reasons are below.",
        _conditions(deployment),
        "## Agreement with the .pt",
        _table(agreement_table(rows)),
        f"mAP@0.5 is {ON_SQUARES}{in_the_study(deployment.study_map50)}. {_judged(deployment)}",
        *_left_out(deployment),
        "## Which one to use",
        _weak(rows),
        _table(recommendations(deployment)),
        *_loading(deployment),
        FP32_HINT if find(rows, "openvino_fp32") else "",
        *(_article(deployment) if with_article else []),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _article(deployment: Deployment) -> list[str]:
    where = f"{ARTICLE}; the right column is this model on this machine."
    return ["## The article's claims", where, _table(claims(deployment))]


def _untrained(rows: list[Row]) -> str:
    """A warning where the .pt itself detects nothing, so that nothing can disagree with it."""
    map50 = rows[0].map50
    if map50 is None or map50 >= LEAST_MAP50:
        return ""
    return (
        f"**These weights detect next to nothing (mAP@0.5 {map50:.3f}).** Sizes and times hold; "
        "that an export agrees with them says little. Train longer, or study.keep_best=true."
    )


def _weak(rows: list[Row]) -> str:
    """A warning where the .pt finds something, but not much."""
    map50 = rows[0].map50
    if map50 is None or not LEAST_MAP50 <= map50 < WEAK_MAP50:
        return ""
    return (
        f"**This model finds little: mAP@0.5 {map50:.3f}.** What it finds at Ultralytics' default "
        "confidence of 0.25 was not measured and may be nothing. Look at its predictions before "
        "you use it, or train longer."
    )


def _loading(deployment: Deployment) -> list[str]:
    lines = loading(deployment)
    return ["To load what is recommended:", "```\n" + "\n".join(lines) + "\n```"] if lines else []


def _table(rows: list[list[str]]) -> str:
    header, *body = rows
    return render_table(Table(header, body, left=tuple(header)))


def speed_table(rows: list[Row], gpu: bool) -> list[list[str]]:
    """Header and one row per format that was measured."""
    measured = [r for r in rows if r.speeds]
    header = ["format", "computed in", "status", "file MiB", "load ms", "reload ms"]
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
    header = ["format", "stored", "computed in", "status", "mAP@0.5", "against the .pt"]
    header += ["largest box difference px", "largest score difference", "reason"]
    return [header, *(_agreement_row(r, rows[0].map50) for r in rows)]


def _agreement_row(row: Row, reference: float | None) -> list[str]:
    box, score = ("–" if v is None else f"{v:.2g}" for v in (row.box_px, row.score))
    change = "–"
    if row.name != PT.name and row.map50 is not None and reference is not None:
        change = f"{row.map50 - reference:+.4f}"
    cells = [row.name, row.precision, row.ran or "–", row.status.value, _number(row.map50, 4)]
    return [*cells, change, box, score, row.reason or "–"]


def _judged(deployment: Deployment) -> str:
    """What an export was judged by."""
    most = deployment.conditions["max_map_drop"]
    if (deployment.rows[0].map50 or 0.0) > most:
        return (
            f"An export has failed that loses more than {most:g} of mAP@0.5 "
            "(`deploy.max_map_drop`); the largest differences are for information."
        )
    return (
        f"The .pt has no more mAP@0.5 than an export may lose (`deploy.max_map_drop={most:g}`), "
        "so that the largest differences decided."
    )


def _conditions(deployment: Deployment) -> str:
    c = deployment.conditions
    versions = ", ".join(f"{k} {v}" for k, v in c["versions"].items())
    shapes = _shapes(deployment)
    return (
        f"{_where(deployment)}, {c['threads']} core(s), {c['imgsz']} px, {shapes}. "
        f"{c['runs']} passes per batch size in 5 turns with the .pt, {c['warmup']} before each "
        "turn not counted; a pass is the model alone, from a ready input to its raw output. "
        "× .pt is the median over turns. Load: the first in a fresh process, imports done; "
        "reload: median of 5, in turns with the .pt. Peak RSS: above the interpreter with "
        "torch, Ultralytics and the runtimes named here imported, which is the same for every "
        f"row. mAP@0.5 on {c['images']} validation images, each letterboxed to the square. "
        f"{versions}.{_crowded(deployment.rows)}"
    )


def _shapes(deployment: Deployment) -> str:
    """Which axes of the exports are free."""
    if not deployment.conditions["dynamic"]:
        return "fixed: batch 1, larger ones split"
    fixed = [r.name for r in deployment.rows if r.speeds and not FORMATS.get(r.name, PT).dynamic]
    return "free batch and image size" + (f" ({', '.join(fixed)}: fixed)" if fixed else "")


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


def _crowded(rows: tuple[Row, ...]) -> str:
    """A warning when other programs had the processor; ratios suffer less than times."""
    busy = [f"{r.name} {r.cpu_wait:.0%}" for r in rows if r.cpu_wait >= BUSY_SHARE]
    if not busy:
        return ""
    return (
        " **The machine was busy: share of their time that passes, and those of the .pt in turns "
        f"with them, waited for a core: {', '.join(busy)}. These times are too long and scatter: "
        "compare by × .pt, which was measured in turns, not by the columns beside it.**"
    )


def _left_out(deployment: Deployment) -> list[str]:
    left = [r for r in deployment.rows if r.status is not Status.OK]
    if not left:
        return []
    lines = "\n".join(f"- {r.name}: {r.status.value}, {literal(r.reason)}" for r in left)
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
