import csv
import re
import shutil
from base64 import b64encode
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sweeper.config.compose import compose_settings
from sweeper.errors import StudyError
from sweeper.report import publish as module
from sweeper.report.__main__ import main
from sweeper.report.html import to_html
from sweeper.report.markdown import Table, bold, literal, plain, render_table, verbatim
from sweeper.report.publish import publish
from sweeper.tracking import reader
from sweeper.trial.record import Outcome
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import RecordedStudy
from tests.report.many import multiply_folders, multiply_runs
from tests.report.synthetic import ARTICLE, Row, write_study


class Outside(HTMLParser):
    """Collects what an HTML file would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        assert tag not in {"script", "link", "iframe"}
        if tag == "img":
            self.images.append(values["src"])
        if tag == "a":
            self.links.append(values["href"])


def test_the_html_needs_no_other_file(published: Path) -> None:
    text = (published / "article/report.html").read_text()
    outside = Outside()
    outside.feed(text)
    assert len(outside.images) == 5
    assert all(i.startswith("data:image/png;base64,iVBOR") for i in outside.images)
    assert "url(" not in text and "@import" not in text
    assert text.count("<table>") == text.count("</table>") == 10


def test_a_reason_is_text_and_not_markup(tmp_path: Path) -> None:
    text = render_table(Table(["a", "why"], [["1", "<b>in</b>\n| out"]], left=("why",)))
    assert "| 1 | \\<b>in\\</b> \\| out |" in text
    assert "<td>&lt;b&gt;in&lt;/b&gt; | out</td>" in to_html(text, tmp_path)


# What a class, a folder or an error may be called.
FOREIGN = [
    "__background__",
    "_a_ snake_case",
    "a*b*c **d**",
    "`x` ``y``",
    "![x](/etc/hostname)",
    "![i](http://x/y.png)",
    "![own](report/cells.png)",
    "[link](http://x) [ref]",
    "<http://x/y>",
    "<b>b</b> &lt; &#60; & ~~gone~~",
    "a|b \\| c\\",
    "\\*not\\_em\\`",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_text_that_is_not_ours_shows_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    own = tmp_path / "report/cells.png"
    own.write_bytes(b"png")
    table = render_table(Table(["class", "n"], [[name, "0.5"], [bold(name), "–"]]))
    text = f"# {literal(name)}\n\n{table}\n\nOf {literal(name)}, {verbatim(name)}.\n"
    shown = to_html(text, tmp_path, [own])
    for element in ("<title>{}</title>", "<h1>{}</h1>", "<td>{}</td>", "<strong>{}</strong>"):
        assert element.format(escape(name)) in shown
    assert f"<p>Of {escape(name)}, <code>{escape(name)}</code>.</p>" in shown
    assert "<img" not in shown and "<a " not in shown
    assert plain(f"**Of** {literal(name)}, {verbatim(name)}") == f"Of {name}, {name}"


def test_only_the_reports_own_plots_are_read_into_the_html(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    for name in ("report/cells.png", "report/other.png", "secret"):
        (tmp_path / name).write_text(name)
    links = ["report/cells.png", "report/other.png", "secret", f"{tmp_path}/secret", "http://x/y"]
    text = "# T\n\n" + "\n\n".join(f"![of {link}]({link})" for link in links)
    shown = to_html(text, tmp_path, [tmp_path / "report/cells.png"])
    assert re.findall(r'src="([^"]*)"', shown) == [
        f"data:image/png;base64,{b64encode(b'report/cells.png').decode()}"
    ]
    assert "<p>of secret</p>" in shown


def test_the_names_of_classes_study_and_data_show_in_both_documents(tmp_path: Path) -> None:
    odd, file = "__a__ *b* `c`", "![x](/etc/hostname)"
    row = Row(
        4, 1, False, peak_gib=2.0, map50=(0.5,), wall_time_s=5.0, classes={odd: 0.4, file: 1}
    )
    failed = Row(8, 1, False, Outcome.CRASHED, reason=f"{odd} {file}")
    write_study(tmp_path, [row, failed], name="a_*b*_", machine=odd, space=odd, versions=file)
    settings = compose_settings([f"runs_dir={tmp_path}", "report.format=html"])
    shown = publish(settings, "a_*b*_").path.read_text()
    assert "<title>Study a_*b*_: " in shown and "<h1>Study a_*b*_: " in shown
    assert f"<td>{odd}</td>" in shown and f"<td>{file}</td>" in shown
    assert f">{odd} {file}</td>" in shown
    assert f"machine: {odd}</li>" in shown and f"space: <code>{odd}</code>" in shown
    assert f"versions: {file}</li>" in shown
    assert all(
        s.startswith("data:image/png;base64,iVBOR") for s in re.findall(r'src="(.*?)"', shown)
    )


def test_once_fresh_seeds_repeat_the_best_cell_only_their_mean_is_told(tmp_path: Path) -> None:
    rows = [Row(4, 1, False, Outcome.COMPLETE, 2.0, (0.2, 0.9), 100.0)]
    rows += [
        Row(4, 1, False, Outcome.COMPLETE, 2.0, (0.2, m), 60.0, seed=seed, confirms=0)
        for seed, m in ((1, 0.4), (2, 0.6))
    ]
    uri = write_study(tmp_path, rows)
    publish(compose_settings([f"runs_dir={tmp_path}"]), "article")
    (run,) = MlflowClient(uri).search_runs(["1"], "tags.kind = 'study'")
    told = {k: v for k, v in run.data.metrics.items() if k.startswith("best_")}
    assert told["best_map50"] == pytest.approx(0.5)
    assert told["best_map50_95"] == pytest.approx(0.3)
    assert told["best_wall_time_s"] == 60.0


def test_the_parent_run_holds_the_answer(published: Path) -> None:
    client = MlflowClient(f"sqlite:///{published}/mlflow.db")
    (run,) = client.search_runs(["1"], "tags.kind = 'study'")
    metrics, tags = run.data.metrics, run.data.tags
    assert (metrics["best_map50"], metrics["best_batch"], metrics["trials"]) == (0.419, 4, 7)
    assert (metrics["trials_complete"], metrics["trials_infeasible"]) == (4, 3)
    assert metrics["best_end_low"] < metrics["best_end_map50"] == 0.419 < metrics["best_end_high"]
    assert metrics["best_whole_run_s"] == 11400.0
    assert metrics["best_headroom_gib"] == pytest.approx(23.65 - 9.7)
    assert (tags["best_cell"], tags["best_trial"]) == ("b4×a4 amp", "5")
    trials = client.search_runs(["1"], "tags.kind = 'trial'", order_by=["metrics.rank ASC"])
    assert [r.info.run_name for r in trials[:3]] == ["b4×a4 amp", "b4×a4", "b8×a1"]
    assert {r.data.metrics["rank"] for r in trials} == {1, 2, 3, 4, 5, 6, 7}
    assert "- best mAP@0.5: b4×a4, " in tags["mlflow.note.content"]
    assert "**Use batch 4 × accumulate 4, amp on**" in tags["mlflow.note.content"]
    assert {a.path for a in client.list_artifacts(run.info.run_id, "report")} == {
        f"report/{name}"
        for name in (
            "cells.png",
            "curves.png",
            "map50.png",
            "memory.png",
            "parts.png",
            "trials.csv",
        )
    }
    assert {"report.md", "report.html"} <= {a.path for a in client.list_artifacts(run.info.run_id)}


def test_the_csv_has_every_trial(published: Path) -> None:
    with (published / "article/report/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["cell"] for r in rows][3:5] == ["b4×a4", "b16×a1 amp"]
    assert rows[0]["reason"] == ARTICLE[0].reason


def test_the_command_prints_the_report_and_where_it_is(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([f"runs_dir={published}"])
    output = capsys.readouterr().out
    assert output.startswith("# Study article: yolo11x on coco128 within 23.65 GiB")
    assert output.rstrip().endswith(f"written to {published}/article/report.md")


def test_a_dead_server_is_one_message(tmp_path: Path) -> None:
    settings = compose_settings([f"runs_dir={tmp_path}", "tracking.uri=http://127.0.0.1:9"])
    with pytest.raises(StudyError, match=r"tracking\.uri=http://127\.0\.0\.1:9 does not answer"):
        publish(settings, "s")


def test_a_report_again_replaces_the_old_plots(tmp_path: Path) -> None:
    write_study(tmp_path, [Row(4, 1, False, None)], done=None)
    (tmp_path / "article/report").mkdir(parents=True)
    (tmp_path / "article/report/map50.png").write_text("of an earlier report")
    publish(compose_settings([f"runs_dir={tmp_path}"]), None)
    assert [p.name for p in (tmp_path / "article/report").iterdir()] == ["trials.csv"]


def test_a_page_of_before_does_not_stay_behind(tmp_path: Path) -> None:
    write_study(tmp_path, [Row(4, 1, False, None)], done=None)
    page = tmp_path / "article/report.html"
    publish(compose_settings([f"runs_dir={tmp_path}", "report.format=html"]), None)
    page.write_text("of an earlier report")
    publish(compose_settings([f"runs_dir={tmp_path}"]), None)
    assert "<title>Study article" in page.read_text()


def test_two_thousand_trials_are_read_in_pages_and_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, ARTICLE)
    multiply_runs(tmp_path / "mlflow.db", 285)
    shutil.rmtree(tmp_path / "article")
    read, asked = reader.read_curve, []
    monkeypatch.setattr(reader, "read_curve", lambda *a: asked.append(a) or read(*a))
    publish(compose_settings([f"runs_dir={tmp_path}"]), None)
    assert not asked, "the results have the curves"
    require_a_short_report_of(2002, tmp_path / "article")


def test_two_thousand_folders_are_read_without_mlflow(tmp_path: Path) -> None:
    write_study(tmp_path, ARTICLE)
    multiply_folders(StudyFolder(tmp_path / "article"), 285)
    assert publish(compose_settings([f"runs_dir={tmp_path}"]), None).warning == ""
    require_a_short_report_of(2002, tmp_path / "article")


def require_a_short_report_of(trials: int, folder: Path) -> None:
    text = (folder / "report.md").read_text()
    assert f"The first 50 of {trials:,} rows; every trial is in [report/trials.csv]" in text
    assert len(text) < 50_000
    last = re.findall(r"^\| (\d+) +\| b", text, re.MULTILINE)[-1]
    assert last == "49"
    assert len((folder / "report/trials.csv").read_text().splitlines()) == trials + 1


def test_a_report_does_not_need_mlflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path, ARTICLE)
    (tmp_path / "mlflow.db").unlink()
    main([f"runs_dir={tmp_path}"])
    output = capsys.readouterr()
    assert output.out.startswith("# Study article: yolo11x on coco128")
    assert "![Learning curves, and where" in output.out
    (warning,) = output.err.splitlines()
    assert warning.startswith("warning: MLflow did not take the report: study.name=article is not")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("fault", [MlflowException("gone"), ConnectionError("gone")])
def test_mlflow_that_dies_before_the_report_is_logged_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    write_study(tmp_path, ARTICLE)
    monkeypatch.setattr(MlflowClient, "log_artifact", failing(fault))
    report = publish(compose_settings([f"runs_dir={tmp_path}"]), None)
    assert report.warning.startswith("MLflow did not take the report: tracking.uri=sqlite:///")
    assert "does not answer: gone. Start the server" in report.warning
    assert report.path.read_text().startswith("# Study article")


def test_mlflow_that_dies_before_the_curves_are_read_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Row(2, 1, False, None, map50=(0.1,))
    write_study(tmp_path, [*ARTICLE, running], done=None)
    shutil.rmtree(tmp_path / "article")
    monkeypatch.setattr(MlflowClient, "get_metric_history", failing(MlflowException("gone")))
    report = publish(compose_settings([f"runs_dir={tmp_path}"]), None)
    assert report.warning.startswith("the report is without learning curves: tracking.uri=")
    assert report.path.read_text().startswith("# Study article")


def test_a_database_that_vanishes_in_the_middle_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, ARTICLE)
    shutil.rmtree(tmp_path / "article")
    read = module.load_record

    def read_and_delete(*arguments: Any) -> RecordedStudy:
        record = read(*arguments)
        (tmp_path / "mlflow.db").write_bytes(b"no database any more" * 500)
        return record

    monkeypatch.setattr(module, "load_record", read_and_delete)
    report = publish(compose_settings([f"runs_dir={tmp_path}"]), None)
    assert "does not answer" in report.warning
    assert report.path.read_text().startswith("# Study article")


def failing(fault: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise fault

    return fail
