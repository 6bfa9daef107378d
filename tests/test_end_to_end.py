"""The whole path as a user drives it, with real training."""

import getpass
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeper.study.lease import study_lease
from sweeper.trial.folder import TrialFolder
from sweeper.trial.study_folder import StudyFolder
from tests.conftest import link_traces
from tests.forks import Commands

ROOT = Path(__file__).parent.parent
SMALL = [
    *("data.digits.train=16", "data.digits.val=4", "data.imgsz=64"),
    *("train.epochs=1", "train.workers=0"),
]

ARGUMENTS = ["batch=2,4", "accumulate=4,2", "amp=false", "study.name=small", *SMALL]


def sweeper(folder: Path, *arguments: str, module: str = "sweeper") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("study")
    link_traces(folder / "runs", traces)
    done = sweeper(folder, "-m", *ARGUMENTS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_a_study_runs_every_cell_and_counts_its_optimizer_steps(study: tuple[Path, str]) -> None:
    folder, _ = study
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'sweeper'")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    steps = {
        (int(r.data.params["batch"]), int(r.data.params["accumulate"])): int(
            r.data.metrics["optimizer_steps"]
        )
        for r in runs
    }
    assert steps == {(2, 4): 2, (2, 2): 4, (4, 4): 1, (4, 2): 2}
    assert {r.info.status for r in runs} == {"FINISHED"}


def test_the_terminal_says_what_runs_and_what_comes_next(study: tuple[Path, str]) -> None:
    _, output = study
    assert "study small: batch=2,4 accumulate=4,2 (4 cells)" in output
    assert "4/4 b2×a2" in output
    assert "python -m sweeper.report study.name=small" in output
    assert "one epoch shows what fits and how long it takes, and ranks nothing" in output
    assert "sweeper.deploy" not in output, "nothing is recommended"
    assert "\x1b" not in output


def test_the_report_has_a_row_for_every_run(study: tuple[Path, str], command: Commands) -> None:
    folder, _ = study
    done = command(folder, module="sweeper.report")
    assert done.code == 0, done.err
    text = (folder / "runs/small/report.md").read_text()
    for label in ("b2×a4", "b2×a2", "b4×a4", "b4×a2"):
        assert f"| {label} " in text
    assert "**No recommendation: the best cell detects nothing yet**" in text


def test_the_same_command_again_runs_nothing(study: tuple[Path, str], command: Commands) -> None:
    folder, _ = study
    done = command(folder, "-m", *ARGUMENTS)
    assert done.code == 0, done.err
    assert len(list((folder / "runs/small/trials").iterdir())) == 4


def test_a_study_that_another_process_runs_is_left_alone(
    study: tuple[Path, str], command: Commands
) -> None:
    folder, _ = study
    with study_lease("small", f"sqlite:///{folder}/runs/optuna.db"):
        done = command(folder, "-m", *ARGUMENTS)
    assert done.code == 1
    assert f"study.name=small is being run by {getpass.getuser()}@" in done.err
    assert f"process {os.getpid()}, since 20" in done.err
    assert "If it has died" not in done.err, "on this machine that is known"


def test_a_study_whose_trials_are_elsewhere_is_not_resumed(
    study: tuple[Path, str], command: Commands
) -> None:
    folder, _ = study
    trials = folder / "runs/small/trials"
    trials.rename(folder / "runs/elsewhere")
    try:
        done = command(folder, "-m", *ARGUMENTS)
    finally:
        (folder / "runs/elsewhere").rename(trials)
    assert done.code == 1
    assert "trials lacks 4 trials that the stored study has (0, 1, 2, 3)" in done.err


def test_a_single_trial_keeps_out_of_a_study(study: tuple[Path, str], command: Commands) -> None:
    folder, _ = study
    done = command(folder, "study.name=small", *SMALL)
    assert done.code == 1
    assert "study.name=small is a study; a single trial goes elsewhere" in done.err
    assert len(list((folder / "runs/small/trials").iterdir())) == 4


def test_everything_a_run_writes_is_under_runs(study: tuple[Path, str]) -> None:
    folder, _ = study
    assert [p.name for p in folder.iterdir()] == ["runs"]


def test_one_trial_prints_its_result(tmp_path: Path, traces: Path) -> None:
    link_traces(tmp_path / "runs", traces)
    done = sweeper(tmp_path, "batch=4", "accumulate=4", "amp=true", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "b4×a4 amp  complete" in done.stdout
    assert "1 optimizer step from 4 micro-batches in bfloat16" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch=0"], "batch must be at least 1 but got 0."),
        (["-m", "batch=4,999", "amp=false"], "batch must not exceed the 144 training images"),
        (["-m", "study.seed=1,2"], "study.seed holds for the whole study and cannot be swept."),
        (["accumulate=999"], "accumulate=999 with batch=4 needs that many micro-batches"),
        (["data=custom"], "data.yaml is not set."),
        (["-m", "vram=t4,rtx3090"], "vram holds for the whole study and cannot be swept"),
        (["-m", "study.name=data"], "study.name must be a folder name other than data"),
        (["bach=4"], "bach is an unknown key. Did you mean batch?"),
        (["+train.epoch=1"], "train.epoch is an unknown key. Did you mean"),
        (["batch=2,4"], "batch=2,4 is a sweep: python -m sweeper -m batch=2,4"),
        (
            ["-m", "model=[yolo11n,yolo11s]"],
            "without brackets: python -m sweeper -m model=",
        ),
        (["-m", "batch=4;8"], "between values stands a comma, batch=4,8."),
        (["-m", "study.rungs=3,6"], "is a list and needs brackets: 'study.rungs=[3,6]'"),
    ],
)
def test_bad_input_is_one_message_and_leaves_no_records(
    tmp_path: Path, command: Commands, arguments: list[str], message: str
) -> None:
    done = command(tmp_path, *arguments)
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--help"], ["--info", "defaults"]])
def test_hydras_own_flags_work(tmp_path: Path, flags: list[str]) -> None:
    done = sweeper(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert "accumulate" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_config_directory_of_the_users_own_is_searched(tmp_path: Path) -> None:
    (tmp_path / "mine/train").mkdir(parents=True)
    (tmp_path / "mine/train/tiny.yaml").write_text(
        "epochs: 7\nimgsz: 96\noptimizer: SGD\nlr0: 0.1\n"
    )
    done = sweeper(tmp_path, "-cd", "mine", "train=tiny", "--cfg", "job")
    assert "epochs: 7" in done.stdout, done.stderr


def test_a_study_over_levers_trains_what_they_buy_and_names_the_price(
    tmp_path: Path, traces: Path, command: Commands
) -> None:
    link_traces(tmp_path / "runs", traces)
    done = command(
        tmp_path, "-m", "batch=4,16", "accumulate=1,4", "amp=false", "memory.checkpoint=all,none",
        "study.effective_batch=16", "study.share=true", "study.name=levers", "vram=toy",
        "vram.budget_gib=0.705", "data.digits.train=32", "data.digits.val=4", "data.imgsz=96",
        "train.epochs=2", "train.workers=0",
    )  # fmt: skip
    assert done.code == 0, done.err
    folder = StudyFolder(tmp_path / "runs/levers")
    record = folder.read()
    assert record is not None
    assert {t.spec.label: t.state for t in folder.read_with_trials(record).trials} == {
        "b16×a1": "out_of_memory",
        "b4×a4": "complete",
        "b4×a4 checkpoint=all": "covered",
        "b16×a1 checkpoint=all": "complete",
    }
    price = (
        r"checkpoint=all buys batch 16 instead of 4 "
        r"(for \d+ % (more|less) time per epoch|\(the machine was too busy)"
    )
    report = (tmp_path / "runs/levers/report.md").read_text()
    assert re.search(price, done.out) and re.search(price, report)
    assert "| b16×a1 checkpoint=all " in report


def test_a_study_in_parts_trains_the_beginning_of_the_run_that_is_planned(
    tmp_path: Path, traces: Path
) -> None:
    link_traces(tmp_path / "runs", traces)
    small = ["data.digits.train=16", "data.digits.val=4", "data.imgsz=64", "train.epochs=4"]
    done = sweeper(
        tmp_path, "-m", "batch=2,4", "accumulate=1", "amp=false", "study.rungs=[1,2]",
        "study.name=parts", *small,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    whole = sweeper(tmp_path, "batch=4", "accumulate=1", "amp=false", *small)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    part = TrialFolder.of(tmp_path / "runs/parts/trials", 0).read_result()
    run = TrialFolder.of(tmp_path / "runs/single/trials", 0).read_result()
    assert part is not None and run is not None
    assert (part.trained, part.paused, run.trained, run.paused) == (2, True, 4, False)
    seen = [(e.epoch, e.train_loss, e.val_loss, e.learning_rate) for e in part.epochs]
    assert seen == [(e.epoch, e.train_loss, e.val_loss, e.learning_rate) for e in run.epochs[:2]]
    assert "2 of 4" in (tmp_path / "runs/parts/report.md").read_text()
