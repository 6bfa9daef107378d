"""Writes a study's report: files under runs/, and the answer and artifacts to MLflow."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.config.settings import ReportSettings, Settings
from sweeper.errors import StudyError
from sweeper.report import plots, tables
from sweeper.report.answer import answer, plain_answer
from sweeper.report.cells import CellSummary
from sweeper.report.decision import finishing, longer_in_words, training_longer
from sweeper.report.document import render, title
from sweeper.report.findings import Findings
from sweeper.report.frames import trials_frame
from sweeper.report.html import to_html
from sweeper.report.load import load_record, publishing_place
from sweeper.report.markdown import render_table
from sweeper.tracking import publish_report
from sweeper.trial.command import whole_training
from sweeper.trial.study_folder import StudyFolder

NOTE_ROWS = 10
MOST_RANKED = 100  # trials: each takes MLflow some ten milliseconds
UNTAKEN = "MLflow did not take the report"
FOLDER = "report"  # beside report.md, and among the artifacts
MEANS = ("map50", "map50_95", "wall_time_s", "train_time_s")


@dataclass(frozen=True, slots=True)
class Report:
    """A written report.

    Attributes:
        path: Its file.
        answer: Its verdict, how sure that is, and what else one may take, as plain text.
        recommends: Whether there is a cell to take.
        onward: The command that goes on with it to the end of its run, or trains longer what has
            taught nothing, with a comment; empty where there is nothing to go on with.
        warning: Why MLflow did not take it; empty when it did.
        link: Where MLflow's UI shows the study's runs; empty where that is not known.
    """

    path: Path
    answer: str
    recommends: bool
    onward: str
    warning: str = ""
    link: str = ""


def publish(settings: Settings, name: str | None, tracked: bool = True) -> Report:
    """Write the report of a study, or of the latest one, and log it to the study's MLflow run.

    Args:
        settings: Where the study is.
        name: Its name; None is the latest.
        tracked: Whether MLflow answers; else it is not asked.

    Raises:
        StudyError: There is no such study, or it cannot be read.
    """
    findings = Findings(load_record(settings, name))
    study = StudyFolder(Path(settings.runs_dir) / findings.study.name)
    (study.path / FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        learnt, warning = bool(findings.curves), ""
    except StudyError as error:
        learnt, warning = False, f"the report is without learning curves: {error}"
    images = _write_plots(findings, learnt, study.path / FOLDER)
    table = study.path / FOLDER / "trials.csv"
    trials_frame(findings).to_csv(table, index=False)
    documents = _write_documents(findings, images, study.path, settings.report)
    files = [*((d, None) for d in documents), *((f, FOLDER) for f in (table, *images))]
    files += [(weights, "weights") for weights in _kept_weights(findings, study)]
    link, untaken = "", f"{UNTAKEN}: it does not answer"
    if tracked:
        link, untaken = _log(settings, findings, files)
    return Report(
        documents[-1],
        plain_answer(findings),
        findings.recommended is not None,
        _onward(findings),
        warning or untaken,
        link,
    )


def _onward(findings: Findings) -> str:
    if command := finishing(findings):
        return f"{command}   # goes on to the end of its run, keeps its weights"
    longer = training_longer(findings)
    return f"{longer}   # {longer_in_words(findings)}" if longer else ""


def _log(
    settings: Settings, findings: Findings, files: list[tuple[Path, str | None]]
) -> tuple[str, str]:
    """Where MLflow shows the runs, and why it did not take the report; one of them is empty."""
    uri, experiment = publishing_place(settings, findings.study)
    numbers, best, note = _metrics(findings), _tags(findings), _note(findings)
    study, ranks = findings.study, _ranks(findings)
    try:
        return publish_report(uri, experiment, study, numbers, best, note, files, ranks), ""
    except StudyError as error:
        return "", f"{UNTAKEN}: {error}"


def _write_documents(
    findings: Findings, images: list[Path], folder: Path, wanted: ReportSettings
) -> list[Path]:
    """The report as markdown and as HTML, where it is wanted or there; what is wanted last."""
    report = folder / "report.md"
    shown = {image.stem for image in images}
    report.write_text(render(findings, shown, wanted.article), encoding="utf-8")
    html = folder / "report.html"
    if wanted.format != "html" and not html.exists():
        return [report]
    html.write_text(to_html(report.read_text(encoding="utf-8"), folder, images), "utf-8")
    return [report, html] if wanted.format == "html" else [html, report]


def _kept_weights(findings: Findings, study: StudyFolder) -> list[Path]:
    """The winner's best weights, where ``study.keep_best`` kept them on this machine."""
    if findings.winner is None:
        return []
    weights = study.trial(findings.winner.first.number).best_weights
    return [weights] if weights.is_file() else []


def _write_plots(findings: Findings, learnt: bool, folder: Path) -> list[Path]:
    """The plots that have something to show."""
    charts = {}
    if any(c.peak_gib is not None or c.fits for c in findings.cells):
        charts["cells"] = plots.cell_map(findings)
    if learnt:
        charts["curves"] = plots.learning_curves(findings)
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


def _metrics(findings: Findings) -> dict[str, float]:
    """For the parent run: how many trials ended how, and the numbers of the recommended cell."""
    tally = findings.tally
    metrics: dict[str, float | None] = {
        "trials": tally.trials,
        "trials_complete": tally.complete,
        "trials_infeasible": tally.infeasible,
        "trials_failed": tally.failed,
    }
    best = findings.recommended
    if best is not None:
        metrics |= {f"best_{name}": _mean(best, name) for name in MEANS}
        metrics |= {"best_images_per_s": best.images_per_s, "best_peak_gib": best.peak_gib}
        metrics |= {"best_batch": best.spec.batch, "best_accumulate": best.spec.accumulate}
        metrics |= _prospects(best, findings)
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _mean(cell: CellSummary, name: str) -> float | None:
    """Mean of the trials by which a cell is compared, as its mAP@0.5 is."""
    values = [getattr(t.result, name) for t in cell.compared]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _prospects(cell: CellSummary, findings: Findings) -> dict[str, float | None]:
    """What to expect of the whole run of the recommended cell."""
    end = findings.ends.get(cell.name)
    return {
        "best_end_map50": findings.end(cell),
        "best_end_low": end.low if end else None,
        "best_end_high": end.high if end else None,
        "best_whole_run_s": cell.whole_s,
        "best_headroom_gib": cell.headroom_gib,
    }


def _ranks(findings: Findings) -> dict[str, int]:
    """The place of each trial's cell by run, the recommended one in front of the comparison.

    Empty where there are too many.
    """
    if len(findings.trials) > MOST_RANKED:
        return {}
    ordered = sorted(tables.in_order(findings), key=lambda c: c is not findings.recommended)
    places = enumerate(ordered, 1)
    return {t.run_id: place for place, cell in places for t in cell.trials if t.run_id}


def _tags(findings: Findings) -> dict[str, str]:
    best = findings.recommended
    if best is None:
        return {}
    run_id = best.first.run_id
    return {
        "best_cell": best.name,
        "best_trial": str(best.first.number),
        **({} if run_id is None else {"best_run_id": run_id}),
        "best_command": whole_training(best.spec),
    }


def _note(findings: Findings) -> str:
    """The description of the parent run: the answer and the first rows of the comparison."""
    comparison = tables.comparison(findings)
    shown = replace(comparison, rows=comparison.rows[:NOTE_ROWS])
    table = [render_table(shown)] if shown.rows else []
    more = "The whole report, with its plots, is the artifact `report.md`."
    return "\n\n".join([f"### {title(findings)}", answer(findings), *table, more])
