"""Every bad case is one message, exit code 1, and leaves no trace."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from ultralytics import YOLO

from sweeper.config.compose import compose_settings
from sweeper.deploy.document import render
from sweeper.deploy.folder import draft_of
from sweeper.deploy.formats import FORMATS, Format, obstacle
from sweeper.deploy.process import Child, ChildFault
from sweeper.deploy.recording import record
from sweeper.deploy.rows import Deployment, Row, Speed, Status, metrics
from sweeper.errors import DeployError
from tests.deploy.conftest import DIGITS, QUICK
from tests.forks import ROOT, Commands, pipe
from tests.report.synthetic import ARTICLE, write_study
from tests.test_lock import PROJECT

Refused = Callable[..., str]


@pytest.fixture
def refused(command: Commands) -> Refused:
    """Deploys, which must fail and change nothing, and returns the message."""

    def run(folder: Path, *arguments: str) -> str:
        before = _files(folder)
        data = DIGITS * any(word.startswith("deploy.weights=") for word in arguments)
        done = command(folder, *QUICK, *data, *arguments, module="sweeper.deploy")
        assert done.code == 1, done.out
        assert "Traceback" not in done.err
        assert _files(folder) == before
        return done.err

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights that nobody trained."""
    file = tmp_path_factory.mktemp("weights") / "kept.pt"
    YOLO("yolo11n.yaml").save(file)
    return file


def _files(folder: Path) -> dict[Path, int]:
    """Files and when they were written, without the dataset, which is composed when missing."""
    files = [p for p in folder.rglob("*") if p.is_file() and "data" not in p.parts]
    return {p: p.stat().st_mtime_ns for p in files}


def test_without_any_study_nothing_is_created(refused: Refused, tmp_path: Path) -> None:
    assert "no study is in sqlite:///runs/mlflow.db" in refused(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_study_is_named(refused: Refused, tmp_path: Path) -> None:
    write_study(tmp_path / "runs", ARTICLE)
    assert "study.name=nope is not in" in refused(tmp_path, "study.name=nope")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deploy.weights=none.pt"], "deploy.weights=none.pt does not exist"),
        (["deploy.weights=model.onnx"], "deploy.weights=model.onnx is not a .pt file"),
        (
            ["deploy.weights=text.pt"],
            "deploy.weights=text.pt is damaged, or not a file of PyTorch weights",
        ),
        (["deploy.formats=[onnxx]"], "deploy.formats must be one of torchscript"),
        (["deploy.batch=1"], "deploy.batch must be at least 2 but got 1"),
        (
            ["study.name=mine", "data.imgsz=320"],
            "data.imgsz=320 is not read by sweeper.deploy. Did you mean deploy.imgsz=320? It ",
        ),
        (
            ["train.epochs=9"],
            "train.epochs=9 is not read by sweeper.deploy. Did you mean deploy.ep",
        ),
        (["deploy.weights=a.pt", "train.epochs=9"], "train.epochs=9 is not read"),
        (
            ["+train.extra.cos_lr=true"],
            "+train.extra.cos_lr=true is not read by sweeper.deploy. It",
        ),
        (
            ["study.finish=true"],
            "study.finish=true is not read by sweeper.deploy. It takes study.n",
        ),
        (["deploy.max_map_drop=5"], "deploy.max_map_drop must lie between 0 and 1 but got 5"),
    ],
)
def test_bad_input_is_named_as_typed(
    refused: Refused, tmp_path: Path, arguments: list[str], message: str
) -> None:
    for name in ("model.onnx", "text.pt"):
        (tmp_path / name).write_text("no weights")
    assert message in refused(tmp_path, *arguments)


class Foreign:
    """What a pickle of a stranger may hold."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self._command,)


def test_weights_that_would_run_code_are_refused_and_do_not_run_it(
    refused: Refused, tmp_path: Path
) -> None:
    torch.save({"model": Foreign(f"touch {tmp_path}/ran")}, tmp_path / "foreign.pt")
    message = refused(tmp_path, "deploy.weights=foreign.pt", "deploy.formats=[torchscript]")
    assert message.splitlines() == [
        "error: deploy.weights=foreign.pt was refused: reading it would run posix.system, which "
        "is no part of a YOLO model. Take a .pt that Ultralytics saved, from a place you trust; "
        "if yours has layers of its own, set ULTRALYTICS_SAFE_LOAD=false."
    ]
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_holds_no_weights_is_refused_in_one_line(
    refused: Refused, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "odd.pt", "w") as archive:
        archive.writestr("odd/readme", "no weights")
    message = refused(tmp_path, "deploy.weights=odd.pt", "deploy.formats=[torchscript]")
    assert "deploy.weights=odd.pt was refused: it is damaged, or holds no YOLO model." in message
    assert len(message.splitlines()) == 1


def test_weights_that_detect_nothing_are_refused_with_the_key_that_deploys_them(
    refused: Refused, weights: Path, tmp_path: Path
) -> None:
    wanted = ("deploy.formats=[torchscript]", "deploy.min_map=0.2")
    message = refused(tmp_path, f"deploy.weights={weights}", *wanted)
    assert f"deploy.weights={weights} has mAP@0.5 0.0000 on 4 validation images of" in message
    assert "less than deploy.min_map=0.2. Train it longer, name the data set" in message
    assert "deploy.min_map=0 to deploy it all the same" in message


def test_only_formats_that_cannot_be_made_here(
    refused: Refused, weights: Path, tmp_path: Path
) -> None:
    message = refused(tmp_path, f"deploy.weights={weights}", "deploy.formats=[tensorrt]")
    assert "tensorrt: needs an NVIDIA GPU" in message


def test_a_missing_exporter_is_named_with_its_command() -> None:
    wanted = Format("odd", "odd", "fp32", ("numpy", "no_such_exporter"))
    assert obstacle(wanted, False) == (
        "no_such_exporter not installed: pip install no_such_exporter"
    )
    assert obstacle(FORMATS["onnx"], False) == ""


def test_pip_knows_some_modules_by_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.deploy.formats.find_spec", lambda name: None)
    for name in ("ncnn", "litert"):
        packages = " ".join(PROJECT["optional-dependencies"][name])
        assert obstacle(FORMATS[name], False).endswith(f"pip install {packages}")


def test_what_was_killed_is_removed_by_the_next_deployment(tmp_path: Path) -> None:
    target = tmp_path / "mine/deploy"
    running, killed = (target.with_name(f"deploy.part-{platform.node()}-{n}") for n in (1, 2**22))
    elsewhere = target.with_name("deploy.part-another-machine-4194304")
    for draft in (running, killed, elsewhere):
        draft.mkdir(parents=True)
    with draft_of(target) as draft:
        assert {p for p in target.parent.iterdir()} == {running, elsewhere, draft}
    assert {p for p in target.parent.iterdir()} == {running, elsewhere, target}


def test_a_deployment_that_was_killed_between_two_names_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "mine/deploy"
    old = target.with_name(f"deploy.old-{platform.node()}-{2**22}")
    old.mkdir(parents=True)
    (old / "deploy.md").touch()
    with pytest.raises(DeployError, match="stopped"), draft_of(target):
        raise DeployError("stopped")
    assert [p.name for p in target.parent.iterdir()] == ["deploy"]
    assert (target / "deploy.md").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    script = f"""
from pathlib import Path
import signal, sys
from sweeper.deploy.folder import draft_of
from sweeper.tools import run_tool

def main(arguments):
    with draft_of(Path({str(tmp_path)!r}, "mine/deploy")) as draft:
        (draft / "model.pt").write_bytes(b"weights")
        print("begun", flush=True)
        sys.stdin.read()

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and a shell the next
signal.signal(signal.SIGINT, signal.default_int_handler)
run_tool(main, "about")
"""
    words = [sys.executable, "-c", script]
    with subprocess.Popen(
        words, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT, text=True
    ) as process:
        assert pipe(process.stdout).readline() == "begun\n"
        assert list(tmp_path.glob("mine/deploy.part-*"))
        process.send_signal(number)
        assert process.wait() == 130
        assert pipe(process.stderr).read() == ""
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(
    command: Commands, weights: Path, small_disk: Path, tmp_path: Path
) -> None:
    done = command(
        tmp_path,
        *(*QUICK, *DIGITS, f"deploy.weights={weights}", "deploy.formats=[torchscript]"),
        *(f"runs_dir={small_disk}", "data.digits.train=2", "data.digits.val=2"),
        module="sweeper.deploy",
    )
    assert done.code == 1, done.out
    assert "Traceback" not in done.err
    assert "gave no export" in done.err or "No space left" in done.err
    assert {p.name for p in small_disk.iterdir()} <= {"data"}


def test_a_file_in_place_of_the_folder(refused: Refused, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("in the way")
    message = refused(tmp_path, f"deploy.weights={weights}", f"runs_dir={tmp_path}")
    assert "is a file, not a folder" in message


def test_a_study_in_which_nothing_fits(refused: Refused, tmp_path: Path) -> None:
    write_study(tmp_path / "runs", [ARTICLE[0], ARTICLE[4]], name="tight")
    message = refused(tmp_path, "study.name=tight")
    assert "study.name=tight has no trial that completed within its budget" in message


CONDITIONS = {
    "gpu": False,
    "device": "A Processor",
    "threads": 1,
    "imgsz": 64,
    "batch": 2,
    "dynamic": True,
    "runs": 3,
    "warmup": 1,
    "max_map_drop": 0.01,
    "images": 4,
    "versions": {"torch": "2"},
}


def test_exports_that_cannot_be_loaded_are_rows_with_their_reasons() -> None:
    rows = (Row("pt"), Row("onnx", status=Status.FAILED, reason="load: no such opset"))
    deployment = Deployment("s", "trial 0", CONDITIONS, rows, ())
    text = render(deployment)
    assert "busy" not in text and "finds little" not in text and "To load" not in text
    assert "article" not in text
    assert "| TensorRT engine at 142 images/s on a T4 " in render(deployment, with_article=True)
    weak = render(replace(deployment, rows=(Row("pt", map50=0.0862), rows[1])))
    assert "**This model finds little: mAP@0.5 0.086.**" in weak
    assert "Nothing could be measured; the reasons are below." in text
    assert "- onnx: failed, load: no such opset" in text
    assert metrics(deployment) == {}


def test_a_dead_server_costs_the_record_and_not_the_exports(tmp_path: Path) -> None:
    write_study(tmp_path / "runs", ARTICLE)
    settings = compose_settings([f"runs_dir={tmp_path}/runs", "tracking.uri=http://127.0.0.1:9"])
    deployment = Deployment("article", "", {"imgsz": 64, "dynamic": True}, (), ())
    with pytest.raises(DeployError, match=r"deploy is complete, but tracking\.uri=http://127"):
        record(settings, "0123", deployment, tmp_path / "runs/article/deploy", print)


def test_a_child_that_is_late_is_killed(tmp_path: Path) -> None:
    job = {"log": str(tmp_path / "log.txt"), "device": "cpu", "threads": 1, "images": []}
    with Child("sweeper.deploy.bench", job, timeout_s=0.05) as child:
        with pytest.raises(ChildFault, match=r"deploy\.timeout_s=0\.05"):
            child.ask("ready")
        assert not Path(f"/proc/{child.pid}").exists()


def test_a_child_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    job = {"log": str(tmp_path / "log.txt"), "device": "cpu", "threads": 1}
    with (
        Child("sweeper.deploy.no_such_module", job, timeout_s=60) as child,
        pytest.raises(ChildFault, match=r"exit code 1\. .*No module named"),
    ):
        child.answer()


def test_a_busy_machine_is_named_with_the_formats_that_waited() -> None:
    speeds = tuple(Speed(batch, 9.0, 9.0, 100.0) for batch in (1, 2))
    pt = Row("pt", map50=0.5, speeds=speeds, load_s=0.1, reload_s=0.1, size_mib=5.0, cpu_wait=0.04)
    onnx = replace(pt, name="onnx", ran="fp32")
    said = {
        share: render(
            Deployment("s", "trial 0", CONDITIONS, (pt, replace(onnx, cpu_wait=share)), ())
        )
        for share in (0.09, 0.31)
    }
    assert "with them, waited for a core: onnx 31%. These times" in said[0.31]
    assert "busy" not in said[0.09]
