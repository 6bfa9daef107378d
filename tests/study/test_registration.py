"""The winner's model of a finished study, in a real registry."""

from pathlib import Path

from mlflow import MlflowClient

from sweeper.config.compose import compose_settings
from sweeper.study.registration import register_winner
from sweeper.trial.record import Outcome
from tests.report.synthetic import Row, write_study

FITS = Row(4, 1, False, Outcome.COMPLETE, 2.0, (0.2, 0.9), 100.0)
TOO_LARGE = Row(16, 1, False, Outcome.OUT_OF_MEMORY, 30.0)


def test_the_winner_is_registered_with_its_run(tmp_path: Path) -> None:
    uri = write_study(tmp_path, [TOO_LARGE, FITS])
    asked = [f"runs_dir={tmp_path}", "study.register=digits", "study.keep_best=true"]
    settings = compose_settings(asked)
    assert "weights/best.pt is not there" in register_winner(settings, "article")
    weights = tmp_path / "article/trials/0001/weights/best.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    said = "registered: models:/digits/1, b4×a1 of trial 1"
    assert register_winner(settings, "article") == said
    run_id = (tmp_path / "article/trials/0001/mlflow_run_id").read_text()
    version = MlflowClient(uri).get_model_version("digits", "1")
    assert version.run_id == run_id
    assert version.description == (
        "yolo11x at 640 px, b4×a1, trial 1 of study article: mAP@0.5 0.900 on coco128, 80 classes"
    )
    assert version.tags.pop("weights")
    assert version.tags == {
        "study": "article",
        "trial": "1",
        "cell": "b4×a1",
        "map50": "0.900",
        "data": "coco128",
        "classes": "80",
    }


def test_where_no_cell_is_recommended_nothing_is_registered(tmp_path: Path) -> None:
    uri = write_study(tmp_path, [TOO_LARGE])
    asked = [f"runs_dir={tmp_path}", "study.register=digits", "study.keep_best=true"]
    said = register_winner(compose_settings(asked), "article")
    assert said == "study.register=digits: there is nothing to register, no cell is recommended"
    assert not MlflowClient(uri).search_registered_models()
