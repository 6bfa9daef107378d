"""What a user may write after model=."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.memory.predict.architecture import find_architecture

HEAD = "nc: 3\nbackbone:\n- [-1, 1, Conv, [16, 3, 2]]\nhead:\n- [[0], 1, {head}, [nc]]\n"


@pytest.mark.parametrize("model", ["yolo11n", "yolo11n.yaml", "yolo11n.pt"])
def test_a_name_a_yaml_and_missing_weights_mean_the_same_model(model: str) -> None:
    assert find_architecture(model) == find_architecture("yolo11n")


def test_the_u_of_yolov5_weights_is_no_part_of_the_definition() -> None:
    assert find_architecture("yolov5su.pt").digest == find_architecture("yolov5s").digest


def test_scales_of_one_family_differ() -> None:
    found = {find_architecture(f"yolov8{scale}").digest for scale in "nsmlx"}
    assert len(found) == 5


def test_a_yaml_of_ones_own_is_read_and_its_content_decides_the_digest(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(HEAD.format(head="Detect"))
    first = find_architecture(str(file))
    assert first.definition is not None
    assert first.definition["nc"] == 3
    file.write_text(HEAD.format(head="Detect").replace("16", "32"))
    assert find_architecture(str(file)).digest != first.digest


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("yolo11q", "neither a file nor a model"),
        ("no/such/best.pt", "neither a file nor a model"),
        ("picture.jpg", "not a model file"),
        ("yolo11n-seg", "its head is Segment"),
        ("rtdetr-l", "its head is RTDETRDecoder"),
    ],
)
def test_what_is_not_a_detection_model_is_named(model: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        find_architecture(model)
    assert f"model={model}" in str(caught.value)
    assert "model=yolo11n" in str(caught.value)


@pytest.mark.parametrize("text", ["", "just words", "- 1\n- 2", "a: [", "names: {0: cat}", "\0"])
def test_a_yaml_that_is_not_a_model_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="is not a model definition"):
        find_architecture(str(file))


def test_looking_up_a_model_imports_neither_torch_nor_ultralytics() -> None:
    code = (
        "import sys, sweeper.memory.predict.prediction, sweeper.memory.predict.allocator;"
        "import sweeper.memory.predict.architecture as a;"
        "a.find_architecture('yolo11n');"
        "print([m for m in ('torch', 'ultralytics') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
