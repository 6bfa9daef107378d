import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from sweeper.config.compose import compose_settings
from sweeper.config.settings import Settings
from sweeper.deploy import rows as deploy
from sweeper.errors import StudyError
from sweeper.report.deployment import CHOSEN, deployment_source
from sweeper.report.document import render
from sweeper.report.findings import Findings
from sweeper.report.frames import curves_frame, trials_frame
from sweeper.report.load import load_record, publishing_place
from sweeper.report.publish import publish
from sweeper.tracking import tags
from sweeper.tracking.deploy import log_deployment
from sweeper.trial.readings import EMULATED, MEASURED
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import DeploymentRecord, RecordedStudy
from tests.report.synthetic import ARTICLE, Row, study_record, write_study
from tests.report.test_document import STUDIES


def settings(runs: Path, *overrides: str) -> Settings:
    return compose_settings([f"runs_dir={runs}", *overrides])


def from_mlflow(runs: Path, name: str) -> RecordedStudy:
    """The study as MLflow has it, its folder being elsewhere."""
    (runs / name).rename(runs / "aside")
    try:
        return load_record(settings(runs), name)
    finally:
        (runs / "aside").rename(runs / name)


@pytest.mark.parametrize("name", STUDIES)
def test_both_loaders_find_the_same(name: str, tmp_path: Path) -> None:
    options = dict(STUDIES[name])
    write_study(tmp_path, options.pop("rows"), name=name, **options)
    folder, mlflow = load_record(settings(tmp_path), name), from_mlflow(tmp_path, name)
    assert folder.study == mlflow.study
    for ours, theirs in zip(folder.trials, mlflow.trials, strict=True):
        result = ours.result and replace(ours.result, epochs=(), settings={})
        assert replace(ours, result=result) == theirs
    one, other = Findings(folder), Findings(mlflow)
    assert render(one, set()) == render(other, set())
    pd.testing.assert_frame_equal(trials_frame(one), trials_frame(other), check_exact=True)
    pd.testing.assert_frame_equal(curves_frame(one), curves_frame(other), check_exact=True)


@pytest.mark.parametrize(
    ("emulated", "said"),
    [
        (False, "Measured by `python -m sweeper.deploy`;"),
        (True, "on an emulated card: times are those of the CPU"),
    ],
)
def test_what_was_deployed_is_in_both(tmp_path: Path, emulated: bool, said: str) -> None:
    uri = write_study(tmp_path, ARTICLE)
    folder = StudyFolder(tmp_path / "article")
    rows = (deploy.Row("onnx", map50=0.42),)
    deployed = deploy.Deployment("article", "trial 5", {}, rows, (), trial=5, emulated=emulated)
    folder.deployment.mkdir()
    (folder.deployment / "deploy.json").write_text(deploy.to_json(deployed))
    source, run_id = EMULATED if emulated else MEASURED, folder.trial(5).run_id.read_text()
    log_deployment(uri, run_id, deploy.metrics(deployed), source, [], None, ())
    expected = DeploymentRecord(5, {"deploy/onnx/map50": 0.42}, emulated)
    for record in (load_record(settings(tmp_path), "article"), from_mlflow(tmp_path, "article")):
        assert [t.deployment for t in record.trials if t.deployment] == [expected]
        report = render(Findings(record), set())
        assert "| onnx " in report and said in report
        assert "letterboxed to the square of the image size, as exports need" in report
        assert "(padded as in training, in the study: 0.419)" in report
        assert CHOSEN not in report


def test_exports_of_a_repeated_cell_are_those_of_its_first_run() -> None:
    record = DeploymentRecord(5, {"deploy/onnx/map50": 0.42}, False)
    assert deployment_source(record, 0.419, confirmed=True).endswith(f"0.419).{CHOSEN}")


def test_the_latest_study_is_the_one_that_was_started_last(tmp_path: Path) -> None:
    write_study(tmp_path, [], name="resumed", last_started=30.0)
    write_study(tmp_path, [], name="second", last_started=20.0)
    write_study(tmp_path, [], name="single", last_started=40.0)
    elsewhere = StudyFolder(tmp_path / "elsewhere")
    elsewhere.write_start(study_record("elsewhere", tracking_uri="http://x", last_started=99.0))
    assert load_record(settings(tmp_path), None).study.name == "resumed"


def test_without_folders_the_latest_study_is_mlflows(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_study(tmp_path, [], name=name)
        shutil.rmtree(tmp_path / name)
    assert load_record(settings(tmp_path), None).study.name in {"first", "second"}


def test_a_study_of_the_same_name_on_the_server_that_was_given_is_not_shadowed(
    tmp_path: Path,
) -> None:
    uri = write_study(tmp_path / "theirs", ARTICLE)
    write_study(tmp_path / "ours", [])
    given = settings(tmp_path / "ours", f"tracking.uri={uri}")
    assert len(load_record(given, "article").trials) == len(ARTICLE)
    assert not load_record(settings(tmp_path / "ours"), "article").trials


def older(runs: Path) -> None:
    """Take away what version 0.1 did not write."""
    uri = write_study(runs, ARTICLE)
    client = MlflowClient(uri)
    for run in client.search_runs(["1"]):
        for tag in (tags.STUDY, tags.SPEC, tags.RESULT):
            if tag in run.data.tags:
                client.delete_tag(run.info.run_id, tag)
    (runs / "article/study.json").unlink()


def test_an_older_study_is_read_from_its_trial_folders(tmp_path: Path) -> None:
    older(tmp_path)
    for name in ("article", None):
        record = load_record(settings(tmp_path), name)
        assert len(record.trials) == len(ARTICLE)
        assert (record.study.limit_gib, record.study.n_trials) == (23.65, 7)
        assert record.study.machine.startswith("no GPU")


def test_an_older_study_in_mlflow_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    older(tmp_path)
    shutil.rmtree(tmp_path / "article/trials")
    with pytest.raises(StudyError, match=r"older version of sweeper: run the report where its"):
        load_record(settings(tmp_path), "article")


def test_an_older_study_without_mlflow_is_refused_with_what_to_do(tmp_path: Path) -> None:
    older(tmp_path)
    with pytest.raises(StudyError, match=r"does not answer: .* Start the server"):
        load_record(settings(tmp_path, "tracking.uri=http://127.0.0.1:9"), "article")


def test_a_record_too_long_for_a_tag_is_read_from_its_folder(tmp_path: Path) -> None:
    write_study(tmp_path, [Row(4, 1, False, map50=(0.4,), overrides=("x=" + "y" * 9000,))])
    assert load_record(settings(tmp_path), "article").trials[0].map50 == 0.4
    with pytest.raises(StudyError, match=r"longer than the 8000 characters .* runs_dir=PATH"):
        from_mlflow(tmp_path, "article")


def test_a_damaged_record_is_named_and_left_out(tmp_path: Path) -> None:
    write_study(tmp_path, ARTICLE)
    (tmp_path / "article/trials/0003/result.json").write_text('{"outcome": "comp')
    record = load_record(settings(tmp_path), "article")
    assert len(record.trials) == len(ARTICLE) - 1
    text = render(Findings(record), set())
    assert "- 1 record left out, not readable as a trial: " in text
    assert "article/trials/0003." in text


def test_a_run_without_its_parameters_is_named_and_left_out(tmp_path: Path) -> None:
    uri = write_study(tmp_path, [])
    own = {"study": "article", "study_id": "synthetic", "kind": "trial", "trial": "0"}
    run = MlflowClient(uri).create_run("1", tags=own)
    record = from_mlflow(tmp_path, "article")
    assert (record.trials, record.unreadable) == ((), (f"MLflow run {run.info.run_id}",))


def test_a_running_trial_has_its_curve_from_mlflow_while_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, [Row(4, 1, False, None, map50=(0.1, 0.2))], done=None)
    record = load_record(settings(tmp_path), None)
    assert record.curve(record.trials[0], "map50") == [(1, 0.1), (2, 0.2)]
    asked = []

    def fail(*arguments: object) -> None:
        asked.append(arguments)
        raise ConnectionError

    monkeypatch.setattr(MlflowClient, "get_metric_history", fail)
    assert record.curve(record.trials[0], "map50") == []
    assert record.curve(record.trials[0], "map50") == []
    assert len(asked) == 1


def test_a_resumed_study_keeps_its_first_start(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    folder.write_start(study_record("s", started=10.0, last_started=10.0))
    record = folder.write_start(study_record("s", started=20.0, last_started=20.0))
    assert (record.started, record.last_started) == (10.0, 20.0)
    assert folder.read() == record


def test_a_report_is_published_where_its_study_was_recorded(tmp_path: Path) -> None:
    local = study_record("s", tracking_uri="sqlite:///old/mlflow.db")
    remote = study_record("s", tracking_uri="http://server", experiment="mine")
    here = f"sqlite:///{tmp_path}/mlflow.db"
    assert publishing_place(settings(tmp_path), local) == (here, "sweeper")
    assert publishing_place(settings(tmp_path), remote) == ("http://server", "mine")
    given = settings(tmp_path, "tracking.uri=http://other")
    assert publishing_place(given, remote) == ("http://other", "mine")


def test_a_moved_runs_folder_is_published_to_its_own_database(tmp_path: Path) -> None:
    write_study(tmp_path / "old", ARTICLE)
    os.rename(tmp_path / "old", tmp_path / "new")
    assert publish(settings(tmp_path / "new"), "article").warning == ""
    assert not (tmp_path / "old/mlflow.db").exists()
