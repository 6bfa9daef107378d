"""The winner and its weights, found without MLflow; what a deployment leaves for the report."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.deploy import retrain
from sweeper.deploy.rows import Deployment, Row, Speed, to_json
from sweeper.deploy.source import find_source, require_detections
from sweeper.errors import DataError, DeployError, StudyError
from sweeper.report.load import load_record
from sweeper.training.dataset import check_dataset
from sweeper.trial.json_text import write_json
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder
from tests.report.synthetic import ARTICLE, write_study


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The article's study, its dataset's YAML in place and MLflow's database gone."""
    write_study(tmp_path / "runs", ARTICLE)
    (tmp_path / "runs/mlflow.db").unlink()
    (tmp_path / "coco128.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_the_winner_is_found_in_its_folder(runs: Path) -> None:
    found = find_source(compose_settings([f"runs_dir={runs}"]))
    assert (found.study, found.weights) == ("article", None)
    assert found.text == "trial 5 (b4×a4 amp) of study article" and found.is_articles
    assert found.run_id == (runs / "article/trials/0005/mlflow_run_id").read_text()

    best = StudyFolder(runs / "article").trial(5).best_weights
    best.parent.mkdir()
    with zipfile.ZipFile(best, "w") as archive:
        archive.writestr("data.pkl", "weights")
    assert find_source(compose_settings([f"runs_dir={runs}"])).weights == best


def test_a_winner_that_paused_at_a_rung_is_trained_again_from_its_start(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_source(compose_settings([f"runs_dir={runs}"]))
    assert found.spec is not None
    paused = replace(found, spec=replace(found.spec, until=10, trained=6, spent_s=9.0))
    asked: list[TrialSpec] = []

    def train(spec: TrialSpec, folder: Path) -> TrialResult:
        asked.append(spec)
        return TrialResult(Outcome.COMPLETE)

    monkeypatch.setattr(retrain, "_train", train)
    retrain.train_again(paused, None, tmp_path / "again", lambda text: None)
    assert asked == [replace(found.spec, keep_weights=True, timeout_s=0.0)]


def test_a_winner_that_detects_nothing_is_not_trained_once_more_for_it(runs: Path) -> None:
    here = f"runs_dir={runs}"
    refusal = (
        r"the best cell of study\.name=article, b4×a4 amp, ended with mAP@0\.5 0\.\d+, less than "
        r"deploy\.min_map=0\.9, and its weights were not kept\. Train it longer with deploy\.epoc"
    )
    with pytest.raises(StudyError, match=refusal):
        find_source(compose_settings([here, "deploy.min_map=0.9"]))
    longer = find_source(compose_settings([here, "deploy.min_map=0.9", "deploy.epochs=300"]))
    assert longer.weights is None


def test_a_winner_that_detects_nothing_in_the_part_that_was_trained_is_not_either(
    runs: Path,
) -> None:
    for folder in (runs / "article/trials").iterdir():
        trial = StudyFolder(runs / "article").trial(int(folder.name))
        if (result := trial.read_result()) is not None and result.outcome is Outcome.COMPLETE:
            nothing = replace(result, map50=0.004, curve=(0.004,) * 2, best_epoch=2)
            trial.write_result(replace(nothing, paused=True, trained=2))
    here = f"runs_dir={runs}"
    refusal = (
        r"was trained for 2 of 3 epochs and has mAP@0\.5 0\.0040, less than 0\.01, "
        r"and its weights were not kept\. Train its whole run with deploy\.epochs=3, or set"
    )
    with pytest.raises(StudyError, match=refusal):
        find_source(compose_settings([here, "deploy.min_map=0.3"]))
    assert find_source(compose_settings([here, "deploy.min_map=0.003"])).weights is None
    assert find_source(compose_settings([here, "deploy.epochs=3"])).weights is None


def test_a_dataset_that_is_gone_is_said(runs: Path) -> None:
    Path("coco128.yaml").unlink()
    with pytest.raises(StudyError, match=r"coco128\.yaml, the dataset of study\.name=article"):
        find_source(compose_settings([f"runs_dir={runs}"]))


def test_that_the_data_set_changed_is_said_before_the_model_is_blamed(
    runs: Path, tiny_data: Path
) -> None:
    trial = StudyFolder(runs / "article").trial(5)
    facts = check_dataset(tiny_data).facts
    spec = replace(trial.read_spec(), data_yaml=str(tiny_data), dataset=facts)
    settings = compose_settings([f"runs_dir={runs}"])
    write_json(trial.path / "spec.json", spec)
    same = find_source(settings)
    assert (same.spec, same.changed) == (spec, "")

    before = replace(facts, digest="0123abcd", images=60, boxes=145)
    write_json(trial.path / "spec.json", replace(spec, dataset=before))
    found = find_source(settings)
    assert found.changed == (
        f"data=coco128 has {facts.describe()} now; when trial 5 of study.name=article ran, it had "
        "60 training images with 145 boxes, 4 validation images"
    )
    with pytest.raises(DeployError, match=r"^data=coco128 has 12 .*\. On what it is now, trial 5"):
        require_detections(found, 0.0, "4 validation images", 0.01)
    with pytest.raises(DeployError, match=r"^trial 5 .* less than .*=0\.01\. Train it longer, or"):
        require_detections(replace(found, changed=""), 0.0, "4 validation images", 0.01)
    require_detections(found, 0.01, "4 validation images", 0.01)


def test_faults_of_a_data_set_are_told_and_end_nothing(runs: Path, own_data: Path) -> None:
    trial = StudyFolder(runs / "article").trial(5)
    facts = check_dataset(own_data).facts
    write_json(
        trial.path / "spec.json",
        replace(trial.read_spec(), data_yaml=str(own_data), dataset=facts),
    )
    best = trial.best_weights
    best.parent.mkdir()
    with zipfile.ZipFile(best, "w") as archive:
        archive.writestr("data.pkl", "weights")
    next(own_data.parent.rglob("labels/train/*.txt")).write_text("77 0.5 0.5 0.1 0.1\n")
    changed = find_source(compose_settings([f"runs_dir={runs}"])).changed
    assert changed.startswith("the data set is not what was trained on: ")
    assert "1 fault: " in changed and "77" in changed
    best.unlink()
    with pytest.raises(DataError, match="1 fault:"):
        find_source(compose_settings([f"runs_dir={runs}"]))


def test_the_studys_own_figure_goes_with_its_weights_at_their_size_only(runs: Path) -> None:
    here = f"runs_dir={runs}"
    assert find_source(compose_settings([here])).study_map50 is None, "they are not there"
    best = StudyFolder(runs / "article").trial(5).best_weights
    best.parent.mkdir()
    with zipfile.ZipFile(best, "w") as archive:
        archive.writestr("data.pkl", "weights")
    assert find_source(compose_settings([here])).study_map50 == 0.419
    assert find_source(compose_settings([here, "deploy.imgsz=320"])).study_map50 is None


def test_the_report_finds_the_numbers_that_a_deployment_left(runs: Path) -> None:
    row = Row("onnx", map50=0.42, speeds=(Speed(1, 5.0, 6.0, 200.0),))
    deployment = Deployment("article", "trial 3", {"gpu": False}, (row,), (), trial=3)
    folder = StudyFolder(runs / "article")
    folder.deployment.mkdir()
    (folder.deployment / "deploy.json").write_text(to_json(deployment))
    record = load_record(compose_settings([f"runs_dir={runs}"]), "article")
    (deployed,) = [t for t in record.trials if t.deployment]
    assert deployed.number == 3
    assert deployed.deployment is not None
    assert deployed.deployment.metrics["deploy/onnx/map50"] == 0.42
    assert deployed.deployment.metrics["deploy/onnx/latency_ms_b1"] == 5.0
