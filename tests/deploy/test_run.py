"""Train, export and measure for real, as a user does."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from mlflow import MlflowClient
from onnx import numpy_helper
from PIL import Image

from sweeper.config.compose import compose_settings
from sweeper.deploy.formats import FORMATS, PT
from sweeper.deploy.measure import measure, open_reference
from sweeper.deploy.rows import Row, Status
from sweeper.deploy.scene import Scene
from sweeper.training.data_yaml import split_images
from tests.conftest import MachineMaker
from tests.deploy.conftest import QUICK

# In a process of its own: MLflow's pyfunc warns about itself when it is imported.
SERVE = """
import sys, numpy, mlflow.pyfunc
model, images, answer = sys.argv[1:]
numpy.save(answer, mlflow.pyfunc.load_model(model).predict(numpy.load(images))["output0"])
"""


def rows(folder: Path) -> dict[str, dict]:
    document = json.loads((folder / "deploy/deploy.json").read_text())
    return {r["name"]: r for r in document["rows"]}


def winner(folder: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'sweeper'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    return client, run.info.run_id


def test_every_export_is_measured_and_agrees_with_the_pt(deployed: tuple[Path, str]) -> None:
    found = rows(deployed[0])
    assert {k: r["status"] for k, r in found.items()} == {
        "pt": "ok",
        "torchscript": "ok",
        "onnx": "ok",
        "openvino_fp32": "ok",
        "onnx_fp16": "ok",
        "tensorrt": "skipped",
    }
    for name in found.keys() - {"tensorrt"}:
        row = found[name]
        assert [s["batch"] for s in row["speeds"]] == [1, 2]
        assert all(0 < s["median_ms"] <= s["p95_ms"] for s in row["speeds"])
        assert row["size_mib"] > 1
        assert row["rss_mib"] > 5
        assert row["load_s"] > 0
        assert row["map50"] == pytest.approx(found["pt"]["map50"], abs=0.01)
    assert found["onnx"]["box_px"] < 0.5
    assert found["onnx"]["ran"] == "fp32"


def test_the_precision_that_computed_is_asked_of_the_runtime(deployed: tuple[Path, str]) -> None:
    found = rows(deployed[0])
    assert found["openvino_fp32"]["ran"] == "fp32"  # bf16 where the CPU has it, unless told
    assert found["openvino_fp32"]["box_px"] < 0.01
    if platform.machine() == "x86_64":  # where ONNX Runtime has no convolution in fp16
        assert (found["onnx_fp16"]["precision"], found["onnx_fp16"]["ran"]) == ("fp16", "fp32")


def test_the_terminal_says_how_far_it_is(deployed: tuple[Path, str]) -> None:
    _, output = deployed
    assert "pt: measured first, its mAP@0.5 on 4 validation images" in output
    assert "onnx: measured, " in output and "(1 of 4 done, about " in output
    assert "(4 of 4 done)" in output


def test_it_says_why_the_studys_map_is_another_and_how_to_load_what_is_recommended(
    deployed: tuple[Path, str],
) -> None:
    folder, output = deployed
    trial = json.loads((folder / "trials/0000/result.json").read_text())
    study = f"(padded as in training, in the study: {trial['map50']:.3f})"
    assert f" on squares {study}, after" in output
    assert f"as exports need {study}." in (folder / "deploy/deploy.md").read_text()
    (call, *_) = re.findall(r'^YOLO\("(\S+)", task="detect"\).*imgsz=64\)$', output, re.MULTILINE)
    assert (folder.parents[1] / call).exists()


def test_what_an_earlier_deployment_had_is_named_before_it_is_replaced(
    deployed: tuple[Path, str],
) -> None:
    folder, output = deployed
    before = "runs/small/deploy has an earlier deployment, which this one replaces: onnx, ncnn\n"
    assert before in output
    assert not (folder / "deploy/ncnn").exists()


def test_what_cannot_run_here_is_skipped_with_the_commands(deployed: tuple[Path, str]) -> None:
    folder, output = deployed
    assert "needs an NVIDIA GPU" in rows(folder)["tensorrt"]["reason"]
    assert "yolo export model=model.pt format=engine quantize=16 imgsz=64" in output
    assert "trtexec --onnx=onnx/model.onnx --fp16" in output
    assert "--maxShapes=images:2x3x64x64" in output
    assert (folder / "deploy/model.pt").is_file()
    assert (folder / "deploy/onnx/model.onnx").is_file()


def test_the_document_answers_each_target_and_claim(deployed: tuple[Path, str]) -> None:
    text = (deployed[0] / "deploy/deploy.md").read_text()
    for words in ("CPU server", "NVIDIA server", "edge", "142 images/s on a T4"):
        assert words in text
    assert text.count("not measured: no GPU was here") == 2
    assert "5 passes per batch size" in text
    assert "1 core(s)" in text


def test_the_winners_run_has_table_and_numbers(deployed: tuple[Path, str]) -> None:
    client, run_id = winner(deployed[0])
    found = client.get_run(run_id).data
    assert found.metrics["deploy/onnx/images_per_s_b2"] > 0
    assert found.metrics["deploy/pt/map50"] >= 0
    assert found.tags["deploy_source"] == "measured"
    artifacts = {a.path for a in client.list_artifacts(run_id, "deploy")}
    assert artifacts >= {"deploy/deploy.md", "deploy/deploy.json", "deploy/onnx_model"}


def test_mlflow_serves_the_onnx_model_on_a_real_image(
    deployed: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = deployed
    client, run_id = winner(folder)
    model = client.download_artifacts(run_id, "deploy/onnx_model", str(tmp_path))
    image = sorted((folder.parent / "data").glob("*/images/val/*"))[0]
    pixels = np.asarray(Image.open(image).convert("RGB").resize((64, 64)), np.float32) / 255
    batch = np.stack([pixels.transpose(2, 0, 1)] * 2)
    images, answer = tmp_path / "images.npy", tmp_path / "answer.npy"
    np.save(images, batch)
    command = [sys.executable, "-c", SERVE, model, str(images), str(answer)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(folder / "deploy/onnx/model.onnx")
    (expected,) = session.run(None, {"images": batch})
    np.testing.assert_array_equal(np.load(answer), expected)


def test_a_perturbed_export_has_failed_whatever_its_speed(
    deployed: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = deployed
    weights = Path(shutil.copy(folder / "deploy/model.pt", tmp_path))
    model = onnx.load(str(folder / "deploy/onnx/model.onnx"))
    noise = np.random.default_rng(0)
    for tensor in model.graph.initializer:  # biases: a barely trained model hears little else
        bias = numpy_helper.to_array(tensor)
        if tensor.name.endswith("bias"):
            moved = (bias + noise.normal(0, 2, bias.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    data = next((folder.parent / "data").glob("*/data.yaml"))
    images = tuple(str(p) for p in split_images(data, "val"))
    settings = compose_settings(QUICK).deploy
    scene = Scene(settings, tmp_path, "cpu", "a CPU", 1, 64, str(data), images)
    with scene.bench(PT, weights) as child:
        reference = open_reference(scene, weights, child)
        row = measure(scene, Row("onnx", path="model.onnx"), FORMATS["onnx"], reference)
    assert row.status is Status.FAILED
    assert row.reason.startswith("disagrees with the .pt:")
    assert row.speeds


def test_only_the_deployment_is_added_to_the_study(deployed: tuple[Path, str]) -> None:
    assert {p.name for p in deployed[0].iterdir()} == {
        *("trials", "deploy", "report", "report.md", "study.json"),
    }


def test_on_a_card_a_winner_without_weights_is_trained_once_more(
    card: MachineMaker, study: Path
) -> None:
    machine = card(gib=24)
    runs = shutil.copytree(study / "runs", machine.folder / "runs")
    shutil.rmtree(runs / "small/trials/0000/weights")
    wanted = ("study.name=small", "deploy.formats=[torchscript]", "deploy.epochs=2")
    done = machine.command("-m", "sweeper.deploy", *wanted, *QUICK)
    assert done.code == 0, done.out + done.err
    assert "training b4×a1 again" in done.out and "trained 2 epochs" in done.out
    assert "1/1 b4×a1" in done.out
    document = (runs / "small/deploy/deploy.md").read_text()
    assert "trained once more for 2 epochs: its weights were not kept." in document
    assert "**These weights detect next to nothing (mAP@0.5 0.00" in document

    found = rows(runs / "small")
    assert found.keys() == {"pt", "torchscript"}
    for row in found.values():
        assert (row["status"], row["device"], row["ran"]) == ("ok", "cuda:0", "fp32")
        # GiB: weights of 10 MiB, and more; what NVML shows has the context, too.
        assert 0.01 < row["gpu"]["allocated"] <= row["gpu"]["reserved"] < 0.2
        assert row["gpu"]["nvml"] == pytest.approx(row["gpu"]["reserved"] + 300 / 1024, abs=1e-3)

    # It is an emulated card: nothing is called measured.
    assert "torchscript: emulated" in done.out
    assert "Run on Emulated 24 GB: its memory is emulated, all times are those of the" in document
    client, run_id = winner(runs / "small")
    assert client.get_run(run_id).data.tags["deploy_source"] == "emulated"
    report = (runs / "small/report.md").read_text()
    assert (
        "by `python -m sweeper.deploy` on an emulated card: times are those of the CPU" in report
    )
