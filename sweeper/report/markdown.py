"""The report of a study as one markdown document."""

from __future__ import annotations

from sweeper.display import format_seconds
from sweeper.report.tables import best, comparison
from sweeper.tracking import StudyRecord


def render(study: StudyRecord) -> str:
    """The whole document."""
    sections = [f"# Study {study.name}", _asked(study), _answer(study), "## Comparison"]
    sections += [markdown_table(comparison(study)) if study.trials else "No trial has run yet."]
    sections += _reasons(study) + _reproduce(study)
    return "\n\n".join(s for s in sections if s) + "\n"


def markdown_table(rows: list[list[str]]) -> str:
    """Rows as a GitHub table whose columns also line up in a terminal."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _asked(study: StudyRecord) -> str:
    asked = [f"Space: `{study.params.get('space', '–')}`"]
    if study.trials:
        params = study.trials[0].params
        asked.append(
            f"{params['model']} on {params['data']}, {params['imgsz']} px, "
            f"{params['epochs']} epochs, {params['optimizer']}."
        )
    return "  \n".join(asked)


def _answer(study: StudyRecord) -> str:
    winner = best(study)
    if winner is None:
        return "**No trial has completed, so there is nothing to recommend.**"
    params, metrics = winner.params, winner.metrics
    amp = "on" if params["amp"] == "True" else "off"
    return (
        f"**Use batch {params['batch']} × accumulate {params['accumulate']}, amp {amp}**: "
        f"mAP@0.5 {metrics['map50']:.3f}, peak {metrics['peak_gib']:.2f} GiB "
        f"({winner.tags['vram_source']}), {format_seconds(metrics['wall_time_s'])}. "
        "One run per cell: small differences are noise."
    )


def _reasons(study: StudyRecord) -> list[str]:
    lines = [
        f"- {t.label}: {t.outcome}. {t.tags['reason']}"
        for t in study.trials
        if t.tags.get("reason")
    ]
    return ["## What did not complete, and why", "\n".join(lines)] if lines else []


def _reproduce(study: StudyRecord) -> list[str]:
    winner = best(study)
    if winner is None:
        return []
    return [
        "## Use it",
        "```\n" + winner.tags["yolo_command"] + "\n```",
        "Ultralytics knows no `accumulate`: it accumulates `nbs / batch` batches, and fewer "
        "during warm-up, where sweeper holds it constant.",
    ]
