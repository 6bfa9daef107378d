"""Models in a real registry, loaded again as its users do."""

import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from sweeper.errors import StudyError
from sweeper.tracking import Tracker
from sweeper.tracking.register import register_model
from sweeper.trial.study_record import StudyRecord

ABOUT = ("b4×a1 of study s", {"study": "s", "map50": "0.423"})
SETTINGS = {"ultralytics": "8.4.190", "torch": "2.14.1+cpu"}


@pytest.fixture
def uri(tmp_path: Path, empty_mlflow: Path) -> str:
    shutil.copy(empty_mlflow, tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def run_id(uri: str, make_spec, tmp_path: Path) -> str:
    tracker = Tracker(uri, "x", tmp_path / "artifacts")
    tracker.start_study(StudyRecord("s", 2.0, id="one"), "")
    return tracker.start_trial(make_spec())


def test_weights_are_registered_once_and_again_when_they_change(
    uri: str, run_id: str, tmp_path: Path
) -> None:
    weights = tmp_path / "best.pt"
    for content, version in ((b"brief", 1), (b"brief", 1), (b"whole run", 2)):
        weights.write_bytes(content)
        found = register_model(uri, run_id, "digits", weights, SETTINGS, *ABOUT)
        assert found == f"models:/digits/{version}"
    client = MlflowClient(uri)
    second = client.get_model_version("digits", "2")
    assert (second.run_id, second.description) == (run_id, ABOUT[0])
    assert second.tags.items() > ABOUT[1].items()
    outputs = client.get_run(run_id).outputs.model_outputs
    assert len(outputs) == 2
    assert client.get_logged_model(outputs[0].model_id).status.name == "READY"


def test_what_mlflow_refuses_is_said(uri: str, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"x")
    with pytest.raises(StudyError, match=r"tracking\.uri=sqlite.* refuses: .*not found"):
        register_model(uri, "0" * 32, "digits", tmp_path / "best.pt", SETTINGS, *ABOUT)


@pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # MLflow's own classes, too
def test_a_registered_model_finds_objects_where_it_is_loaded(
    uri: str, run_id: str, tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics import YOLO

    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    found = register_model(uri, run_id, "digits", tmp_path / "best.pt", SETTINGS, *ABOUT)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", uri)
    model = mlflow.pyfunc.load_model(found)
    images = sorted((tiny_data.parent / "images" / "val").iterdir())[:2]
    answers = model.predict([str(image) for image in images])
    assert len(answers) == 2 and all(isinstance(boxes, list) for boxes in answers)
