"""Real training in this process; faults are raised where the library would raise them."""

import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Container
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics.engine.trainer as engine
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import SETTINGS
from ultralytics.utils.metrics import DetMetrics

from sweeper.memory import recompute
from sweeper.study.judge import judge
from sweeper.training.endings import Stopped
from sweeper.training.run import run_trial, ultralytics_arguments
from sweeper.training.trainer import TrialTrainer
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import FINGERPRINT, Outcome, TrialFacts, TrialResult
from sweeper.trial.spec import DatasetFacts


class Link:
    """Stands for the pipe to the parent."""

    def __init__(self) -> None:
        self.epochs: list[EpochReport] = []
        self.stop_after: int | None = None

    def send_epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)

    def send_progress(self, done: int, total: int) -> None:
        if self.stop_after is not None and done > self.stop_after:
            raise Stopped


def train(spec, folder: Path, link: Link | None = None) -> TrialResult:
    facts = run_trial(spec, TrialFolder(folder), "cpu", link or Link())
    return judge(spec, TrialFacts(child=facts))


def test_loaders_get_the_trials_share_of_the_cores(make_spec, tmp_path: Path) -> None:
    def workers(threads: int, asked: int) -> int:
        spec = make_spec(threads=threads, train_args={"workers": asked})
        return ultralytics_arguments(spec, TrialFolder(tmp_path), "cpu")["workers"]

    assert (workers(3, 8), workers(7, 8), workers(7, 2)) == (4, 8, 2)


@pytest.mark.parametrize(
    ("batch", "accumulate", "epochs", "iterations"),
    [(4, 1, 2, 6), (4, 2, 2, 6), (2, 4, 2, 12), (4, 5, 2, 6), (5, 2, 3, 9)],
)
def test_optimizer_steps_are_iterations_over_accumulate(
    make_spec, tmp_path: Path, batch: int, accumulate: int, epochs: int, iterations: int
) -> None:
    spec = make_spec(batch=batch, accumulate=accumulate, epochs=epochs)
    result = train(spec, tmp_path)
    assert result.outcome is Outcome.COMPLETE, result.reason
    assert result.iterations == iterations
    assert result.optimizer_steps == iterations // accumulate
    assert result.settings["accumulate"] == accumulate
    assert result.settings["nbs"] == batch * accumulate


def test_accumulation_is_constant_while_the_learning_rate_warms_up(
    make_spec, tmp_path: Path, monkeypatch
) -> None:
    seen: list[tuple[int, float]] = []
    end_batch = TrialTrainer._end_batch

    def spy(self: TrialTrainer) -> None:
        seen.append((self.accumulate, self.optimizer.param_groups[0]["lr"]))
        end_batch(self)

    monkeypatch.setattr(TrialTrainer, "_end_batch", spy)
    train(make_spec(batch=2, accumulate=2, epochs=3), tmp_path)
    assert {accumulate for accumulate, _ in seen} == {2}
    warm_up = [lr for _, lr in seen[:6]]
    assert warm_up == sorted(warm_up) and warm_up[0] < warm_up[-1]


def test_a_trial_reports_every_epoch_and_what_it_cost(make_spec, tmp_path: Path) -> None:
    link = Link()
    result = train(make_spec(), tmp_path, link)
    assert [e.epoch for e in link.epochs] == [1, 2]
    assert result.epochs == tuple(link.epochs)
    assert result.map50 is not None and 0 <= result.map50 <= 1
    assert result.train_time_s > sum(e.train_time_s for e in result.epochs) > 0
    assert result.images_per_s * result.epochs[1].train_time_s == pytest.approx(12)
    assert result.peak_rss_gib > 0.1
    assert result.cpu_wait is None or 0 <= result.cpu_wait < 1
    assert result.memory is None, "nothing was predicted, and there is no GPU to measure"
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert (tmp_path / "train_batch0.jpg").stat().st_size > 1000
    assert not list(tmp_path.rglob("*.pt"))


def test_the_fingerprint_of_the_data_follows_its_labels_not_its_place(
    make_spec, tiny_data: Path, tmp_path: Path
) -> None:
    def found(root: Path) -> str:
        data_yaml = str(root / tiny_data.name)
        result = train(make_spec(epochs=1, data_yaml=data_yaml), tmp_path / "run")
        assert result.outcome is Outcome.COMPLETE, result.reason
        return result.settings[FINGERPRINT]

    elsewhere = tmp_path / "copy"
    shutil.copytree(tiny_data.parent, elsewhere)
    yaml = elsewhere / tiny_data.name
    yaml.write_text(yaml.read_text().replace(str(tiny_data.parent), str(elsewhere)))
    before = found(tiny_data.parent)
    assert found(elsewhere) == before
    one, two, *_ = sorted((elsewhere / "labels" / "train").glob("*.txt"))
    texts = one.read_text(), two.read_text()
    assert texts[0] != texts[1]
    one.write_text(texts[1])
    two.write_text(texts[0])
    assert found(elsewhere) != before


def test_the_classes_are_those_of_the_best_epoch(
    make_spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, seen = TrialTrainer.validate, []

    def validate_with_classes(self: TrialTrainer) -> tuple[dict[str, float], float]:
        metrics, fitness = validate(self)
        box = self.validator.metrics.box
        assert {self.data["names"][i] for i in box.ap_class_index} <= {*"0123456789"}
        value = (0.1, 0.4, 0.3)[self.epoch]
        box.all_ap = np.full((len(box.ap_class_index), 10), value)
        seen.append(len(box.ap_class_index))
        return metrics | {"metrics/mAP50(B)": value, "metrics/mAP50-95(B)": value}, fitness

    monkeypatch.setattr(TrialTrainer, "validate", validate_with_classes)
    result = train(make_spec(epochs=3), tmp_path)
    assert result.best_epoch == 2
    assert {*result.class_map50.values()} == {0.4} and len(result.class_map50) == seen[1] > 0


def test_the_same_seed_gives_the_same_losses_and_another_one_does_not(
    make_spec, tmp_path: Path
) -> None:
    losses = [
        [e.train_loss for e in train(make_spec(seed=seed), tmp_path / str(i)).epochs]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_what_is_computed_again_learns_the_same(
    make_spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    checkpoint = recompute.checkpoint
    monkeypatch.setattr(
        recompute, "checkpoint", lambda *a, **kw: (runs.append("again"), checkpoint(*a, **kw))[1]
    )
    plain, again = (
        train(make_spec(checkpoint=part, accumulate=2), tmp_path / part)
        for part in ("none", "all")
    )
    assert again.outcome is Outcome.COMPLETE, again.reason
    assert len(runs) == 6 * 18, "yolo11 has 18 layers with weights, which 6 batches go through"
    for name in ("map50", "train_loss", "val_loss"):
        assert [getattr(e, name) for e in plain.epochs] == [getattr(e, name) for e in again.epochs]


@pytest.mark.parametrize(
    ("amp", "dtype"), [(False, "float32"), ("bf16", "bfloat16"), (True, "bfloat16")]
)
def test_amp_on_the_cpu_is_real_autocast(
    make_spec, tmp_path: Path, monkeypatch, amp: bool | str, dtype: str
) -> None:
    seen: set[bool] = set()
    loss = DetectionModel.loss

    def spy(self, batch, preds=None):
        if self.training:
            seen.add(torch.is_autocast_enabled("cpu"))
        return loss(self, batch, preds)

    monkeypatch.setattr(DetectionModel, "loss", spy)
    result = train(make_spec(amp=amp, epochs=1), tmp_path)
    assert (result.amp_dtype, seen) == (dtype, {bool(amp)})


def test_the_threads_asked_for_are_used(make_spec, tmp_path: Path) -> None:
    train(make_spec(epochs=1, threads=2), tmp_path)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("amp", [False, True])
def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged(
    make_spec, tmp_path: Path, monkeypatch, amp: bool
) -> None:
    spoil_losses({2}, monkeypatch)
    result = train(make_spec(amp=amp), tmp_path)
    assert (result.outcome, result.iterations) == (Outcome.DIVERGED, 2)
    assert "the loss became nan in epoch 1, micro-batch 2" in result.reason
    assert ("or set amp=false" in result.reason) is amp


def spoil_losses(numbers: Container[int], monkeypatch) -> None:
    """Make the losses of these micro-batches NaN, as an overflow in the head's last layer does."""
    loss, seen = DetectionModel.loss, count(1)

    def spoiled(self, batch, preds=None):
        total, items = loss(self, batch, preds)
        factor = float("nan") if self.training and next(seen) in numbers else 1.0
        return total * factor, {name: item * factor for name, item in items.items()}

    monkeypatch.setattr(DetectionModel, "loss", spoiled)


@pytest.fixture
def scaler(monkeypatch) -> None:
    """Scale gradients as AMP on a GPU does."""
    resume = TrialTrainer.resume_training

    def with_scaler(self: TrialTrainer, ckpt: object) -> None:
        self.scaler = torch.amp.GradScaler("cpu")
        resume(self, ckpt)

    monkeypatch.setattr(TrialTrainer, "resume_training", with_scaler)


@pytest.mark.usefixtures("scaler")
def test_steps_skipped_in_a_row_until_nothing_is_scaled_are_divergence(
    make_spec, tmp_path: Path, monkeypatch
) -> None:
    # 16 fail, one happens, and then all fail.
    spoil_losses({*range(1, 33), *range(35, 99)}, monkeypatch)
    result = train(make_spec(batch=1, accumulate=2, epochs=9), tmp_path)
    assert (result.outcome, result.optimizer_steps) == (Outcome.DIVERGED, 1)
    assert result.iterations == 2 * (16 + 1 + 17)
    assert "17 optimizer steps in a row were skipped" in result.reason


@pytest.mark.usefixtures("scaler")
def test_skipped_steps_in_a_row_are_counted_across_parts(
    make_spec, tmp_path: Path, monkeypatch
) -> None:
    spoil_losses(range(1, 99), monkeypatch)
    spec = make_spec(batch=1, epochs=3, until=1)
    first = train(spec, tmp_path)
    assert (first.paused, first.iterations, first.optimizer_steps) == (True, 12, 0)
    second = train(replace(spec, trained=1, until=None), tmp_path)
    assert (second.outcome, second.iterations) == (Outcome.DIVERGED, 17)


@pytest.mark.usefixtures("scaler")
def test_what_spoils_the_statistics_of_batchnorm_is_divergence_though_its_step_is_skipped(
    make_spec, tmp_path: Path, monkeypatch
) -> None:
    loss = DetectionModel.loss

    def overflow(self, batch, preds=None):
        return loss(self, {**batch, "img": batch["img"] * float("inf")}, preds)

    monkeypatch.setattr(DetectionModel, "loss", overflow)
    result = train(make_spec(), tmp_path)
    assert (result.outcome, result.iterations) == (Outcome.DIVERGED, 1)
    assert "the loss became nan in epoch 1, micro-batch 1, and the statistics" in result.reason


@pytest.mark.usefixtures("scaler")
def test_a_fitness_that_is_not_finite_is_divergence_with_a_scaler_too(
    make_spec, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(DetMetrics, "fitness", float("nan"))
    result = train(make_spec(), tmp_path)
    assert (result.outcome, result.iterations) == (Outcome.DIVERGED, 3)
    assert "the fitness became nan in epoch 1" in result.reason


def test_what_the_set_up_takes_is_no_training_time(make_spec, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(engine, "check_amp", lambda model: bool(time.sleep(1.0)))
    began = time.monotonic()
    result = train(make_spec(amp=True, epochs=1), tmp_path)
    assert result.outcome is Outcome.COMPLETE
    assert time.monotonic() - began - result.train_time_s > 1.0


def test_any_other_error_is_a_crash_with_its_message(
    make_spec, tmp_path: Path, monkeypatch
) -> None:
    def broken(*args, **kwargs):
        raise KeyError("surprise")

    monkeypatch.setattr(DetectionModel, "loss", broken)
    result = train(make_spec(), tmp_path)
    assert result.outcome is Outcome.CRASHED
    assert result.reason == "KeyError: 'surprise' See log.txt."


def test_an_accumulate_longer_than_the_run_is_refused(make_spec, tmp_path: Path) -> None:
    result = train(make_spec(accumulate=7), tmp_path)
    assert result.outcome is Outcome.CRASHED
    assert "must not exceed the 6 micro-batches of this run" in result.reason


@pytest.mark.parametrize(
    ("images", "val_images", "said"),
    [
        (13, 4, "not what the study read when it began: train had 13 images and has 12 now."),
        (12, 3, "not what the study read when it began: val had 3 images and has 4 now."),
    ],
)
def test_images_added_or_taken_away_during_a_study_end_the_trial(
    make_spec, tmp_path: Path, images: int, val_images: int, said: str
) -> None:
    spec = make_spec(dataset=DatasetFacts("0", images, 18, val_images))
    result = train(spec, tmp_path)
    assert result.outcome is Outcome.CRASHED and said in result.reason


def test_an_image_that_ultralytics_leaves_out_is_named(
    make_spec, tiny_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data.parent, tmp_path / "data")
    spoilt = next((tmp_path / "data/images/val").iterdir())
    spoilt.write_bytes(b"")
    yaml = tmp_path / "data" / tiny_data.name
    yaml.write_text(tiny_data.read_text().replace(str(tiny_data.parent), str(yaml.parent)))
    facts = DatasetFacts("0", 12, 18, 4)
    result = train(make_spec(dataset=facts, data_yaml=str(yaml)), tmp_path / "trial")
    assert result.outcome is Outcome.CRASHED
    assert f"leaves out 1 image of val, e.g. {spoilt}: mend" in result.reason


def test_a_fraction_of_the_images_is_no_other_data_set(make_spec, tmp_path: Path) -> None:
    facts = DatasetFacts("0", 12, 18, 4)
    spec = make_spec(dataset=facts, train_args={"fraction": 0.5})
    result = train(spec, tmp_path)
    assert result.outcome is Outcome.COMPLETE, result.reason


def test_a_stopped_trial_keeps_what_it_measured(make_spec, tmp_path: Path) -> None:
    link = Link()
    link.stop_after = 4
    result = train(make_spec(), tmp_path, link)
    assert result.outcome is Outcome.PRUNED
    assert len(result.epochs) == 1 and result.iterations == 5


def test_weights_are_kept_only_when_asked(make_spec, tmp_path: Path) -> None:
    train(make_spec(keep_weights=True), tmp_path)
    assert {p.name for p in (tmp_path / "weights").iterdir()} == {"best.pt", "last.pt"}


def test_save_period_is_honoured(make_spec, tmp_path: Path) -> None:
    spec = make_spec(epochs=3)
    spec.train_args["save_period"] = 2
    train(spec, tmp_path)
    saved = {p.name for p in (tmp_path / "weights").glob("epoch*.pt")}
    assert saved == {"epoch0.pt", "epoch2.pt"}


def test_ultralytics_does_not_log_to_mlflow_and_its_settings_file_stays(
    make_spec, tmp_path: Path
) -> None:
    before = Path(SETTINGS.file).read_bytes()
    train(make_spec(epochs=1), tmp_path)
    assert SETTINGS["mlflow"] is False
    assert Path(SETTINGS.file).read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel counts no waits")
def test_a_crowded_core_is_seen() -> None:
    pin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    spin = "import time; until = time.monotonic() + {}\nwhile time.monotonic() < until: pass\n"
    ask = "from sweeper.training.run import _cpu_wait; print(_cpu_wait())"
    code = pin + spin.format(2) + ask
    with subprocess.Popen([sys.executable, "-c", pin + spin.format(60)]) as other:
        try:
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        finally:
            other.kill()
    assert float(said.stdout) > 0.25
