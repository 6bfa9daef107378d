from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeper.errors import StudyError
from sweeper.tracking import EPOCH_METRICS, METRICS, PARAMS, TRIAL_TAGS, Tracker, read_study
from sweeper.trial import EpochReport, MemoryReading, Outcome, TrialResult, summarise_epochs


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
        memory=MemoryReading(2.5, "simulated", "trace"),
        peak_rss_gib=0.7,
    )


def test_a_trial_is_one_nested_run_with_every_name_of_the_table(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "names", tmp_path / "artifacts")
    tracker.start_study("s", {"space": "batch=4"}, "note")
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
    assert set(METRICS) | set(EPOCH_METRICS) == set(run.data.metrics)
    assert set(TRIAL_TAGS) <= set(run.data.tags)
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
    tracker.start_study("s", {}, "")
    run_id = tracker.start_trial(make_spec())
    tracker.finish_trial(run_id, result(outcome), tmp_path)
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.status, run.data.tags["outcome"]) == (status, outcome.value)


def test_a_study_is_read_back_in_the_order_of_its_trials(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "read", tmp_path)
    tracker.start_study("mine", {"space": "batch=2,4"}, "")
    for number in (1, 0):
        tracker.start_trial(make_spec(study="mine", number=number))
    study = read_study(uri, "read", None)
    assert (study.name, study.params) == ("mine", {"space": "batch=2,4"})
    assert [t.number for t in study.trials] == [0, 1]
    assert {t.outcome for t in study.trials} == {"running"}


def test_a_study_that_is_resumed_keeps_its_parent_run(uri: str, tmp_path: Path) -> None:
    for _ in range(2):
        tracker = Tracker(uri, "resume", tmp_path)
        tracker.start_study("mine", {"space": "x"}, "")
        tracker.finish_study({"best_map50": 0.5}, {}, done=True)
    runs = MlflowClient(uri).search_runs([tracker.experiment_id])
    assert len(runs) == 1 and runs[0].info.status == "FINISHED"


def test_an_unknown_study_is_said_with_what_to_do(uri: str) -> None:
    with pytest.raises(StudyError, match=r"study\.name=nothing is not in .* python -m sweeper"):
        read_study(uri, "read", "nothing")
