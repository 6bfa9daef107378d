"""Writes a study's report: files under runs/, and the answer and artifacts to MLflow."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.report import plots, tables
from sweeper.report.answer import answer
from sweeper.report.document import render, title
from sweeper.report.findings import Findings
from sweeper.report.frames import trials_frame
from sweeper.report.html import to_html
from sweeper.report.markdown import render_table
from sweeper.tracking import publish_report, read_curve, read_study

MAX_CURVES = 8
NOTE_ROWS = 10
FOLDER = "report"  # beside report.md, and among the artifacts
BEST = ("map50", "map50_95", "peak_gib", "wall_time_s", "train_time_s", "images_per_s")


@dataclass(frozen=True, slots=True)
class Report:
    """A written report: its file, and its first paragraph as plain text."""

    path: Path
    answer: str


def publish(settings: Settings, name: str | None) -> Report:
    """Write the report of a study, or of the latest one.

    Raises:
        StudyError: There is no such study.
    """
    uri = settings.tracking_uri
    study = read_study(uri, settings.tracking.experiment, name)
    findings = Findings(study)
    folder = Path(settings.runs_dir) / study.name
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    images = _write_plots(findings, uri, folder / FOLDER)
    table = folder / FOLDER / "trials.csv"
    trials_frame(findings).to_csv(table, index=False)
    report = folder / "report.md"
    report.write_text(render(findings, {image.stem for image in images}), encoding="utf-8")
    documents = [report]
    if settings.report.format == "html":
        documents.append(folder / "report.html")
        documents[-1].write_text(to_html(report.read_text(encoding="utf-8"), folder), "utf-8")
    files = [*((d, None) for d in documents), *((f, FOLDER) for f in (table, *images))]
    files += [(weights, "weights") for weights in _kept_weights(findings, folder)]
    publish_report(uri, study.run_id, _metrics(findings), _tags(findings), _note(findings), files)
    return Report(documents[-1], re.sub(r"[*`]", "", answer(findings)))


def _kept_weights(findings: Findings, folder: Path) -> list[Path]:
    """The winner's best weights, where ``study.keep_best`` kept them on this machine."""
    if findings.winner is None:
        return []
    trial = folder / "trials" / f"{findings.winner.first.number:04d}"
    return [p for p in (trial / "weights" / "best.pt",) if p.is_file()]


def _write_plots(findings: Findings, uri: str, folder: Path) -> list[Path]:
    """The plots that have something to show."""
    charts = {}
    if curves := _curves(findings, uri):
        charts["curves"] = plots.learning_curves(curves)
    if any(c.peak_gib is not None for c in findings.cells):
        charts["memory"] = plots.memory_by_batch(findings)
    if findings.ranked:
        charts["map50"] = plots.map50_by_time(findings)
    if tables.cells_with_parts(findings):
        charts["parts"] = plots.peak_parts(findings)
    for old in folder.glob("*.png"):
        old.unlink()
    for name, chart in charts.items():
        (folder / f"{name}.png").write_bytes(chart.png())
    return [folder / f"{name}.png" for name in charts]


def _curves(findings: Findings, uri: str) -> plots.Curves:
    """The curves of the best cells; while there are few, of the others that have begun."""
    begun = [c for c in findings.cells if not c.fits and "epoch_map50" in c.first.metrics]
    cells = [*findings.ranked, *begun][:MAX_CURVES]
    curves = {c.name: read_curve(uri, c.first.run_id, "epoch_map50") for c in cells}
    return {name: points for name, points in curves.items() if points}


def _metrics(findings: Findings) -> dict[str, float]:
    """For the parent run: how many trials ended how, and the numbers of the best one."""
    tally = findings.tally
    metrics: dict[str, float | None] = {
        "trials": tally.trials,
        "trials_complete": tally.complete,
        "trials_infeasible": tally.infeasible,
        "trials_failed": tally.failed,
    }
    if findings.recommended is not None:
        best = findings.recommended.first
        metrics |= {f"best_{name}": best.metric(name) for name in BEST}
        metrics |= {"best_batch": best.batch, "best_accumulate": best.accumulate}
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _tags(findings: Findings) -> dict[str, str]:
    best = findings.recommended
    if best is None:
        return {}
    return {
        "best_cell": best.name,
        "best_trial": str(best.first.number),
        "best_run_id": best.first.run_id,
        "best_command": best.first.tags.get("yolo_command", ""),
    }


def _note(findings: Findings) -> str:
    """The description of the parent run: the answer and the first rows of the comparison."""
    comparison = tables.comparison(findings)
    shown = replace(comparison, rows=comparison.rows[:NOTE_ROWS])
    table = [render_table(shown)] if shown.rows else []
    more = "The whole report, with its plots, is the artifact `report.md`."
    return "\n\n".join([f"### {title(findings)}", answer(findings), *table, more])
