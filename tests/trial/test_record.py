import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from sweeper.trial.command import training_snippet, yolo_command
from sweeper.trial.readings import EpochReport, steady
from sweeper.trial.record import Outcome, summarise_epochs

ROOT = Path(__file__).parents[2]


def epoch(number: int, map50: float, map50_95: float) -> EpochReport:
    return EpochReport(number, 1.5, map50, map50_95, 1.0, 1.0, 2.0, 0.01)


def test_the_best_epoch_is_the_one_whose_weights_ultralytics_keeps() -> None:
    best = summarise_epochs((epoch(1, 0.9, 0.2), epoch(2, 0.8, 0.4), epoch(3, 0.95, 0.3)))
    assert (best["best_epoch"], best["map50"], best["map50_95"]) == (2, 0.8, 0.4)


def test_the_plain_command_accumulates_through_nbs(make_spec) -> None:
    command = yolo_command(make_spec(batch=4, accumulate=4, amp=True))
    assert command.startswith("yolo detect train model=yolo11n.yaml ")
    assert " batch=4 nbs=16 amp=True " in command
    assert "freeze" not in command
    assert " freeze=10 " in yolo_command(make_spec(freeze=10))
    assert " amp=bf16 " in yolo_command(make_spec(amp="bf16"))


def test_the_snippet_for_what_ultralytics_lacks_trains(make_spec, tmp_path: Path) -> None:
    spec = make_spec(checkpoint="backbone", val_batch=1, epochs=1)
    counted = "for layer in trainer.model.model: print(type(layer.forward).__name__)"
    counted += "; print(len(trainer.test_loader), 'batches')"
    script = training_snippet(spec).replace(
        "model.train(",
        f"def count(trainer):\n    {counted}\n"
        'model.add_callback("on_train_end", count)\nmodel.train(device="cpu", plots=False,',
        1,
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "YOLO_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("partial") == 11
    assert "4 batches" in done.stdout


def test_exactly_the_memory_outcomes_are_infeasible() -> None:
    infeasible = {o.value for o in Outcome if o.infeasible}
    assert infeasible == {"out_of_memory", "over_budget", "implied"}


def test_the_steady_time_of_an_epoch_leaves_out_the_first_one() -> None:
    assert steady([9.0, 2.0, 3.0, 2.5]) == 2.5
    assert steady([9.0]) == 9.0, "better than nothing"
    assert steady([]) is None


def test_the_time_of_an_epoch_is_its_own_whatever_lies_between_two_parts() -> None:
    """Ten hours at a rung, and the first epoch of each part sets up."""
    at = {1: 1000.0, 2: 1002.0, 3: 1004.1, 4: 37004.0, 5: 37006.0}
    took = {1: 9.0, 2: 2.0, 3: 2.1, 4: 3.0, 5: 2.0}
    reports = tuple(replace(epoch(i, 0.1, 0.1), time=at[i], epoch_s=took[i]) for i in at)
    assert summarise_epochs(reports)["epoch_s"] == 2.05
    older = tuple(replace(report, epoch_s=None) for report in reports)
    assert summarise_epochs(older)["epoch_s"] is None
    assert summarise_epochs((*older[:3], *reports[3:]))["epoch_s"] == 2.0


def test_the_curve_is_kept_to_four_digits() -> None:
    reports = (epoch(1, 0.123456, 0.2), epoch(2, 0.65432, 0.4))
    assert summarise_epochs(reports)["curve"] == (0.1235, 0.6543)
