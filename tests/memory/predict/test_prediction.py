"""predict_vram: sums, directions, costs and messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from sweeper import predict_vram
from sweeper.memory.predict.prediction import VramPrediction


@pytest.fixture(scope="module")
def cache(traces: Path) -> Path:
    return traces


def _predict(cache: Path, **changes: Any) -> VramPrediction:
    return predict_vram(**{"model": "yolo11n", "nc": 20, "cache_dir": cache, **changes})


def test_the_parts_sum_to_the_reserved_peak(cache: Path) -> None:
    for amp in (True, False):
        found = _predict(cache, amp=amp)
        assert sum(found.parts.values()) == pytest.approx(found.reserved_gib)
        assert all(part >= 0 for part in found.parts.values())
        assert found.peak_gib == found.reserved_gib + found.context_gib
        assert found.reserved_gib == max(found.training_gib, found.validation_gib)
        assert found.allocated_gib <= found.reserved_gib


def test_on_a_large_card_validation_adds_to_what_training_has_cached(cache: Path) -> None:
    small, large = (_predict(cache, amp=False, limit_gib=gib) for gib in (8.0, 80.0))
    assert small.training_gib == large.training_gib > small.validation_gib
    assert large.validation_gib > large.training_gib
    cached = large.reserved_gib - small.reserved_gib
    assert large.parts == small.parts | {"cache": pytest.approx(small.parts["cache"] + cached)}


def test_a_limit_on_validation_lowers_its_peak_alone(cache: Path) -> None:
    plain, loose, tight = (_predict(cache, batch=8, val_batch=n) for n in (None, 99, 4))
    assert loose.reserved_gib == plain.reserved_gib
    assert tight.training_gib == plain.training_gib
    assert tight.validation_gib < 0.6 * plain.validation_gib


def test_frozen_layers_have_no_gradients_no_state_and_fewer_activations(cache: Path) -> None:
    plain, frozen = (_predict(cache, batch=8, freeze=n) for n in (0, 10))
    assert frozen.parts["weights"] == plain.parts["weights"]
    for part in ("gradients", "optimizer"):
        assert 0 < frozen.parts[part] < 0.7 * plain.parts[part]
    assert frozen.training_gib < 0.7 * plain.training_gib
    assert frozen.validation_gib < plain.validation_gib  # beside the state of the optimizer


def test_a_prediction_is_plain_data(cache: Path) -> None:
    found = _predict(cache, model="yolo11n.yaml", accumulate=3).to_dict()
    assert json.loads(json.dumps(found)) == found
    asked = {"model": "yolo11n", "batch": 16, "accumulate": 3, "amp": True, "imgsz": 640}
    asked |= {"level": 0.95}
    assert found.items() >= asked.items()
    sizes = ("reserved", "allocated", "context", "peak", "training", "validation")
    bounds = {"reserved_upper_gib", "peak_upper_gib"}
    assert found.keys() == {*asked, "parts", *bounds, *(f"{size}_gib" for size in sizes)}


def test_memory_grows_with_batch_image_and_precision_as_it_must(cache: Path) -> None:
    base = _predict(cache, batch=8)
    assert 1.7 < _predict(cache, batch=16).reserved_gib / base.reserved_gib < 2.0
    assert 2.5 < _predict(cache, batch=8, imgsz=1280).reserved_gib / base.reserved_gib < 4.5
    assert 1.4 < _predict(cache, batch=8, amp=False).reserved_gib / base.reserved_gib < 2.1


def test_accumulating_holds_gradients_through_the_forward(cache: Path) -> None:
    once = _predict(cache, accumulate=1)
    assert once.parts["gradients"] < _predict(cache, accumulate=2).parts["gradients"]
    assert (
        _predict(cache, accumulate=2).reserved_gib == _predict(cache, accumulate=64).reserved_gib
    )


def test_the_weights_are_those_of_the_published_model(cache: Path) -> None:
    """yolo11n with 80 classes: 2,624,080 parameters (Ultralytics' model table says 2.6M)."""
    found = _predict(cache, nc=80)
    parameters = 2_624_080
    assert found.parts["weights"] * 2**30 / 4 == pytest.approx(parameters, rel=0.02)
    assert found.parts["optimizer"] == pytest.approx(2 * found.parts["weights"], rel=0.02)
    held = _predict(cache, nc=80, optimizer="SGD").parts["optimizer"]
    assert held == pytest.approx(found.parts["optimizer"] / 2, rel=1e-3)  # AdamW counts its steps


def test_crowded_images_cost_memory(cache: Path) -> None:
    assert _predict(cache, boxes_per_image=100).reserved_gib > 1.3 * _predict(cache).reserved_gib


def test_a_longer_run_meets_a_fuller_image(cache: Path) -> None:
    short, long = (_predict(cache, boxes_per_image=20, images=n) for n in (100, 100_000))
    assert long.reserved_gib > 1.1 * short.reserved_gib


def test_the_bound_is_wider_the_less_is_known_and_the_surer_it_is(cache: Path) -> None:
    sparse, dense = (_predict(cache, boxes_per_image=mean) for mean in (4, 8))
    unknown = _predict(cache)
    assert unknown.reserved_gib == dense.reserved_gib
    above = [found.reserved_upper_gib / found.reserved_gib for found in (sparse, dense, unknown)]
    assert 1 < above[0] < above[1] < above[2]
    assert unknown.peak_upper_gib == unknown.reserved_upper_gib + unknown.context_gib
    assert _predict(cache, level=0.8).reserved_upper_gib < unknown.reserved_upper_gib


def test_an_image_size_is_rounded_up_to_the_stride(cache: Path) -> None:
    found = _predict(cache, imgsz=630)
    assert found.imgsz == 640
    assert found.reserved_gib == _predict(cache, imgsz=640).reserved_gib


def test_a_cached_prediction_imports_no_torch(cache: Path) -> None:
    _predict(cache)
    code = (
        "import sys; from sweeper import predict_vram;"
        f"predict_vram('yolo11n', nc=20, cache_dir={str(cache)!r});"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_damaged_cache_file_is_traced_again(tmp_path: Path) -> None:
    first = _predict(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert _predict(tmp_path) == first
    assert len(file.read_bytes()) > 1000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": 0}, "batch must be a whole number, at least 1, but got 0"),
        ({"batch": -4}, "batch .* got -4"),
        ({"batch": 2.5}, r"batch .* got 2\.5"),
        ({"accumulate": 0}, "accumulate .* got 0"),
        ({"imgsz": -640}, "imgsz .* got -640"),
        ({"nc": 0}, "nc .* got 0"),
        ({"amp": "maybe"}, "amp must be false, true, fp16 or bf16 but got maybe"),
        ({"val_batch": 0}, "val_batch must be a whole number, at least 1, but got 0"),
        ({"freeze": -1}, "freeze cannot be negative but got -1"),
        ({"freeze": 24}, "freeze=24 leaves none of the 24 layers to train"),
        ({"images": 0}, "images must be a whole number, at least 1, but got 0"),
        ({"level": 0.99}, r"level must be one of 0\.8, 0\.9, 0\.95 but got 0\.99"),
        ({"boxes_per_image": -1}, "boxes_per_image cannot be negative but got -1"),
        ({"boxes_per_image": float("nan")}, "boxes_per_image .* nan"),
        ({"context_gib": -0.5}, "context_gib cannot be negative but got -0.5"),
        ({"optimizer": "lion"}, "optimizer=lion is unknown"),
        ({"model": "yolo11q"}, "model=yolo11q is neither"),
    ],
)
def test_bad_input_is_named_with_a_remedy(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        _predict(tmp_path, **changes)
    assert "Try" in str(caught.value) or "Use" in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_does_not_matter(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert _predict(tmp_path / "file" / "below") == _predict(cache)


def test_weights_of_ones_own_are_predicted_by_the_model_they_hold(tmp_path: Path) -> None:
    build: Any = DetectionModel
    torch.save({"model": build("yolov8n.yaml", nc=5, verbose=False)}, tmp_path / "best.pt")
    found = _predict(tmp_path / "traces", model=str(tmp_path / "best.pt"))
    named = _predict(tmp_path / "traces", model="yolov8n")
    assert found.reserved_gib == named.reserved_gib


def test_weights_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    file.write_text("no weights")
    with pytest.raises(ValueError, match=r"model=.*/best\.pt cannot be built"):
        _predict(tmp_path / "traces", model=str(file))


def test_a_yaml_that_ultralytics_cannot_build_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("nc: 1\nbackbone: [[-1, 1, Nothing, []]]\nhead: [[[0], 1, Detect, [nc]]]\n")
    with pytest.raises(ValueError, match=r"model=.*/mine\.yaml cannot be built"):
        _predict(tmp_path / "traces", model=str(file))
