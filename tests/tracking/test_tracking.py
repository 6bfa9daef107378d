from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeper.errors import StudyError
from sweeper.tracking import Tracker, publish_report, read_curve, read_study
from sweeper.tracking.writer import (
    EPOCH_METRICS,
    METRICS,
    PARAMS,
    SPEC_TAGS,
    STUDY_PARAMS,
    STUDY_TAGS,
    TRIAL_TAGS,
)
from sweeper.trial.record import EpochReport, MemoryReading, Outcome, TrialResult, summarise_epochs


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def result(outcome: Outcome = Outcome.COMPLETE) -> TrialResult:
    epochs = tuple(
        EpochReport(i, 1000.0 + i, i / 10, i / 20, 3.0, 4.0, 5.0, 0.01) for i in (1, 2, 3)
    )
    return TrialResult(
        outcome,
        "why" if outcome is not Outcome.COMPLETE else "",
        **summarise_epochs(epochs),
        wall_time_s=12.5,
        train_time_s=11.0,
        images_per_s=30.0,
        iterations=6,
        optimizer_steps=3,
        amp_dtype="float32",
        memory=MemoryReading(
            2.5,
            "simulated",
            "trace",
            context_gib=0.5,
            parts={"weights": 0.5, "activations": 1.5, "loss": 0.0},
            note="a note",
        ),
        peak_rss_gib=0.7,
        settings={"torch": "2.14.1", "lr0": 0.01},
    )


def test_a_trial_is_one_nested_run_with_every_name_of_the_table(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "names", tmp_path / "artifacts")
    tracker.start_study("s", {"space": "batch=4"}, "note", {})
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "log.txt").write_text("hello")
    run_id = tracker.start_trial(make_spec(amp=True))
    for report in result().epochs:
        tracker.log_epoch(run_id, report)
    tracker.finish_trial(run_id, result(), folder)

    client = MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.info.run_name == "b4×a1 amp" and run.info.status == "FINISHED"
    assert set(PARAMS) == set(run.data.params)
    parts = {"part_weights_gib", "part_activations_gib"}
    assert set(METRICS) | set(EPOCH_METRICS) | parts == set(run.data.metrics)
    assert {*TRIAL_TAGS, *SPEC_TAGS} - {"reason", "implied_by", "confirms"} <= set(run.data.tags)
    assert run.data.tags["versions"] == "torch 2.14.1"
    assert run.data.tags["vram_source"] == "simulated"
    history = client.get_metric_history(run_id, "epoch_map50")
    assert [(m.step, m.value) for m in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [a.path for a in client.list_artifacts(run_id)] == ["log.txt"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.COMPLETE, "FINISHED"),
        (Outcome.PRUNED, "FINISHED"),
        (Outcome.OUT_OF_MEMORY, "FAILED"),
        (Outcome.CRASHED, "FAILED"),
        (Outcome.INTERRUPTED, "KILLED"),
    ],
)
def test_each_outcome_has_its_status(
    uri: str, make_spec, tmp_path: Path, outcome: Outcome, status: str
) -> None:
    tracker = Tracker(uri, "status", tmp_path)
    tracker.start_study("s", {}, "", {})
    run_id = tracker.start_trial(make_spec())
    tracker.finish_trial(run_id, result(outcome), tmp_path)
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.status, run.data.tags["outcome"]) == (status, outcome.value)


def test_a_study_is_read_back_in_the_order_of_its_trials(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "read", tmp_path)
    tracker.start_study("mine", {"space": "batch=2,4"}, "", {"machine": "m"})
    for number in (1, 0):
        tracker.start_trial(make_spec(study="mine", number=number))
    study = read_study(uri, "read", None)
    assert (study.name, study.params) == ("mine", {"space": "batch=2,4"})
    assert [t.number for t in study.trials] == [0, 1]
    assert {t.outcome for t in study.trials} == {"running"}
    assert (study.tags["machine"], study.status) == ("m", "RUNNING")
    assert study.trials[0].peak_gib is None


def test_a_trial_is_read_back_with_its_types(uri: str, make_spec, tmp_path: Path) -> None:
    tracker = Tracker(uri, "types", tmp_path)
    tracker.start_study("s", {}, "", {})
    spec = make_spec(
        study="s", batch=2, accumulate=8, amp=True, seed=3, overrides=("a=1", "b='x y'")
    )
    run_id = tracker.start_trial(spec)
    tracker.finish_trial(run_id, result(Outcome.OVER_BUDGET), tmp_path)
    client = MlflowClient(uri)
    client.set_tag(run_id, "implied_by", "7")
    client.log_metric(run_id, "map50", float("nan"))
    (trial,) = read_study(uri, "types", "s").trials
    assert (trial.batch, trial.accumulate, trial.amp, trial.seed) == (2, 8, True, 3)
    assert (trial.peak_gib, trial.vram_source, trial.map50) == (2.5, "simulated", None)
    assert (trial.implied_by, trial.confirms) == (7, None)
    assert trial.overrides == ("a=1", "b='x y'")
    assert trial.parts == {"weights": 0.5, "activations": 1.5, "context": 0.5}
    assert read_curve(uri, run_id, "epoch_map50") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_run_without_its_parameters_is_named_and_left_out(uri: str, tmp_path: Path) -> None:
    tracker = Tracker(uri, "unreadable", tmp_path)
    tracker.start_study("s", {}, "", {})
    tags = {"study": "s", "kind": "trial", "trial": "0"}
    run = MlflowClient(uri).create_run(tracker.experiment_id, tags=tags)
    study = read_study(uri, "unreadable", "s")
    assert (study.trials, study.unreadable) == ((), (run.info.run_id,))


def test_the_answer_is_written_to_the_parent_run(uri: str, tmp_path: Path) -> None:
    tracker = Tracker(uri, "answer", tmp_path / "artifacts")
    params = dict.fromkeys(STUDY_PARAMS, "p")
    tracker.start_study("s", params, "", dict.fromkeys(STUDY_TAGS, "t"))
    (tmp_path / "report.md").write_text("hello")
    parent = read_study(uri, "answer", "s").run_id
    files = [(tmp_path / "report.md", None), (tmp_path / "report.md", "report")]
    publish_report(uri, parent, {"best_map50": 0.5}, {"best_trial": "3"}, "*note*", files)
    client = MlflowClient(uri)
    data = client.get_run(parent).data
    assert data.params == params
    assert data.metrics == {"best_map50": 0.5}
    assert (data.tags["best_trial"], data.tags["mlflow.note.content"]) == ("3", "*note*")
    assert [a.path for a in client.list_artifacts(parent)] == ["report", "report.md"]


def test_what_mlflow_would_refuse_as_too_long_is_cut(uri: str, make_spec, tmp_path: Path) -> None:
    tracker = Tracker(uri, "long", tmp_path)
    tracker.start_study("s", {"space": "x" * 9000}, "n" * 9000, {})
    run_id = tracker.start_trial(make_spec(study="s", overrides=("y" * 9000,)))
    tracker.finish_trial(run_id, replace(result(Outcome.CRASHED), reason="z" * 9000), tmp_path)
    assert len(read_study(uri, "long", "s").trials[0].reason) == 8000


def test_a_study_that_is_resumed_keeps_its_parent_run(uri: str, tmp_path: Path) -> None:
    for _ in range(2):
        tracker = Tracker(uri, "resume", tmp_path)
        tracker.start_study("mine", {"space": "x"}, "", {})
        tracker.finish_study(done=True)
    runs = MlflowClient(uri).search_runs([tracker.experiment_id])
    assert len(runs) == 1 and runs[0].info.status == "FINISHED"


def test_an_unknown_study_is_said_with_what_to_do(uri: str) -> None:
    with pytest.raises(StudyError, match=r"study\.name=nothing is not in .* python -m sweeper"):
        read_study(uri, "read", "nothing")
