"""Which export to use where, and what became of the article's claims: from measured rows only."""

from __future__ import annotations

from sweeper.deploy.rows import Deployment, Row, Speed, Status, find
from sweeper.report.markdown import Markdown, bold, literal

CPU_ONLY = "not measured: no GPU was here"
EMULATED = "not measured: the GPU was emulated, the CPU computed"
NO_SCRIPT = "not measured: no TorchScript export"
NO_GROWTH = "not measured: no growth was seen, was memory short?"
NOTHING_RAN = "not measured: no format ran"
NOTHING_ON_GPU = "not measured: no format ran on the GPU"


def recommendations(deployment: Deployment) -> list[list[str]]:
    """Header and one row per target."""
    head = ["target", "use", "because"]
    if deployment.emulated:
        targets = ("CPU server", "NVIDIA server", "edge")
        return [head, *([target, *_split(EMULATED)] for target in targets)]
    rows = [r for r in deployment.rows if r.status is Status.OK and r.speeds]
    rows = [r for r in rows if not _repeats(r, rows)]
    pt = find(rows, "pt")
    if deployment.conditions["gpu"]:
        cpu = "not measured: the .pt ran on the GPU"
        gpu = _most_images([r for r in rows if r.on_gpu], pt, NOTHING_ON_GPU)
    else:
        there = "; make the engine there (commands above)" if deployment.commands else ""
        cpu, gpu = _most_images(rows, pt), CPU_ONLY + there
    return [
        head,
        ["CPU server", *_split(cpu)],
        ["NVIDIA server", *_split(gpu)],
        ["edge", *_split(_quickest(rows, pt))],
    ]


def _repeats(row: Row, rows: list[Row]) -> bool:
    """Whether it is `openvino` once more, where that computes in fp32 by itself."""
    plain = find(rows, "openvino")
    return row.name == "openvino_fp32" and plain is not None and plain.ran == row.ran


def loading(deployment: Deployment) -> list[str]:
    """The call that loads and runs each file that is recommended."""
    used = {use for _, use, _ in recommendations(deployment)}
    imgsz = deployment.conditions["imgsz"]
    return [
        f'YOLO("{deployment.folder}/{r.path}", task="detect").predict(source, imgsz={imgsz})'
        for r in deployment.rows
        if bold(r.name) in used
    ]


def _split(text: str) -> list[str]:
    use, _, why = text.partition(": ")
    because = Markdown(literal(why or use))  # which is not cut
    return ["–" if use == "not measured" else bold(use), because]


def _most_images(rows: list[Row], pt: Row | None, otherwise: str = NOTHING_RAN) -> str:
    if not rows:
        return otherwise
    best, level = _fastest(rows, pt, -1)
    speed = best.speeds[-1]
    if best is pt:
        return (
            f"pt: no export is faster at batch {speed.batch} ({speed.images_per_s:.0f} images/s)"
        )
    return (
        f"{best.name}: {speed.ratio:.2f} × the images per second of the .pt in turns with it at "
        f"batch {speed.batch}, {_rank(level)} ({speed.images_per_s:.0f} images/s)"
        f"{_quieter(best, rows, level, -1)}{_accuracy(best, pt)}{_level(level, -1)}"
    )


def _rank(level: list[Row]) -> str:
    return "among the highest ratios" if level else "the highest ratio"


def _fastest(rows: list[Row], pt: Row | None, batch: int) -> tuple[Row, list[Row]]:
    """The row to take, and those that cannot be told from it: it loses the least mAP of all.

    Ratios were measured in turns, so that a busy minute hits both; two whose middle turns
    overlap may change places when they are measured again.
    """
    first = max(rows, key=lambda r: r.speeds[batch].ratio)
    level = [r for r in rows if r.speeds[batch].span[1] >= first.speeds[batch].span[0]]
    best = min(level, key=lambda r: (_lost(r, pt), -r.speeds[batch].ratio))
    return best, [r for r in level if r is not best]


def _lost(row: Row, pt: Row | None) -> float:
    if pt is None or row.map50 is None or pt.map50 is None:
        return 0.0
    return max(round(pt.map50 - row.map50, 4), 0.0)  # as it is printed


def _level(rows: list[Row], batch: int) -> str:
    """Rows whose middle turns overlap with those of the best."""
    names = (f"{r.name} ({r.speeds[batch].ratio:.2f} ×)" for r in rows)
    return f"; as fast within the noise of the turns: {', '.join(names)}" if rows else ""


def _quieter(best: Row, rows: list[Row], level: list[Row], batch: int) -> str:
    """Of a row with a shorter time, and yet a smaller ratio: when it had it."""
    exports = [r for r in rows if r.name != "pt" and r not in level]
    least = min(exports, key=lambda r: r.speeds[batch].median_ms, default=best)
    if least.speeds[batch].median_ms >= best.speeds[batch].median_ms:
        return ""
    return f"; {least.name} shows less time in the table, but so did the .pt in turns with it"


def _accuracy(row: Row, pt: Row | None) -> str:
    """What an export keeps of the .pt's accuracy."""
    if pt is None or row is pt or row.map50 is None or pt.map50 is None:
        return ""
    return f", mAP@0.5 {row.map50:.4f} against {pt.map50:.4f}"


def _quickest(rows: list[Row], pt: Row | None) -> str:
    """At batch 1; what another processor does was not measured."""
    if not rows:
        return NOTHING_RAN
    best, level = _fastest(rows, pt, 0)
    speed, exports = best.speeds[0], [r for r in rows if r is not pt]
    here = "the GPU of this machine" if best.on_gpu else "this machine"
    where = f"({speed.median_ms:.1f} ms on {here}, an edge device was not measured)"
    said = f"pt: no export is faster at batch 1 {where}"
    if best is not pt:
        said = (
            f"{best.name}: {speed.ratio:.2f} × as fast as the .pt in turns with it at batch 1, "
            f"{_rank(level)} {where}{_quieter(best, rows, level, 0)}{_accuracy(best, pt)}"
            f"{_level(level, 0)}"
        )
    small = min(exports, key=lambda r: r.size_mib or 0.0, default=None)
    return f"{said}; smallest export: {small.name}, {small.size_mib:.1f} MiB" if small else said


def claims(deployment: Deployment) -> list[list[str]]:
    """The article's claims beside what was measured here."""
    pt, script = find(deployment.rows, "pt"), find(deployment.rows, "torchscript")
    engine = find(deployment.rows, "tensorrt")
    missing = _no_engine(deployment)
    loads = EMULATED if deployment.emulated else _loads(pt, script)
    return [
        ["claim of the article", "here"],
        ["TorchScript loads 3 × faster", loads],
        ["TorchScript takes 18 % less memory", _memory(deployment, pt, script)],
        ["TensorRT engine five times smaller in memory", _engine_memory(pt, engine) or missing],
        ["TensorRT engine at 142 images/s on a T4", _engine_speed(deployment, engine) or missing],
    ]


def _loads(pt: Row | None, script: Row | None) -> str:
    if pt is None or script is None or not (script.load_ratio and script.load_s and pt.load_s):
        return NO_SCRIPT
    first = pt.load_s / script.load_s
    return f"{_times(first)} at the first load, {_times(script.load_ratio)} at later ones"


def _times(ratio: float) -> str:
    return f"{ratio:.1f} × faster" if ratio >= 1 else f"{1 / ratio:.1f} × slower"


def _memory(deployment: Deployment, pt: Row | None, script: Row | None) -> str:
    if pt is None or script is None:
        return NO_SCRIPT
    if "allocated" in pt.gpu and "allocated" in script.gpu:
        change = script.gpu["allocated"] / pt.gpu["allocated"] - 1
        emulated = ", emulated" if deployment.emulated else ""
        return f"{100 * change:+.0f} % (peak of the GPU allocator{emulated})"
    if pt.rss_mib is None or script.rss_mib is None:
        return NO_GROWTH
    change = script.rss_mib / pt.rss_mib - 1
    return f"{100 * change:+.0f} % ({script.rss_mib:.0f} against {pt.rss_mib:.0f} MiB, CPU)"


def _no_engine(deployment: Deployment) -> str:
    """Why nothing is known of an engine."""
    if not deployment.conditions["gpu"]:
        return CPU_ONLY
    reasons = [r.reason for r in deployment.rows if r.name == "tensorrt"]
    return f"not measured: {reasons[0] if reasons else 'not in deploy.formats'}"


def _engine_memory(pt: Row | None, engine: Row | None) -> str:
    if pt is None or engine is None:
        return ""
    if "nvml" not in pt.gpu or "nvml" not in engine.gpu:
        return "not measured: NVML did not answer"
    return f"{pt.gpu['nvml'] / engine.gpu['nvml']:.1f} × smaller (NVML, CUDA context included)"


def _engine_speed(deployment: Deployment, engine: Row | None) -> str:
    if engine is None:
        return ""
    speed: Speed = engine.speeds[0]
    return f"{speed.images_per_s:.0f} images/s on {deployment.conditions['device']}"
