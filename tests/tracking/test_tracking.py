import getpass
import json
from dataclasses import replace
from json import JSONDecodeError
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from sqlalchemy.exc import OperationalError

from sweeper.errors import StudyError
from sweeper.tracking import Tracker, publish_report, read_curve, read_study, readable_faults, tags
from sweeper.tracking.names import (
    EPOCH_METRICS,
    METRICS,
    PARAMS,
    SPEC_TAGS,
    STUDY_PARAMS,
    STUDY_TAGS,
    TRIAL_TAGS,
)
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport, MemoryReading, SystemSample
from sweeper.trial.record import Outcome, TrialResult, summarise_epochs
from sweeper.trial.spec import DatasetFacts
from sweeper.trial.study_record import StudyRecord, StudyStatus


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def study(name: str = "s", space: str | None = "batch=4") -> StudyRecord:
    return StudyRecord(
        name,
        2.5,
        "the card",
        space=space,
        fixed="seed=1",
        command="python -m sweeper -m",
        n_trials=4,
        machine="m",
        versions="v",
        git_commit="c",
        started=10.0,
        last_started=20.0,
        id=f"id-{name}",
    )


def result(outcome: Outcome = Outcome.COMPLETE) -> TrialResult:
    epochs = tuple(
        EpochReport(i, 1000.0 + i, i / 10, i / 20, 3.0, 4.0, 5.0, 0.01, 6.0) for i in (1, 2, 3)
    )
    return TrialResult(
        outcome,
        "why" if outcome is not Outcome.COMPLETE else "",
        excess_gib=-3.25,
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
            alloc_retries=2,
            alloc_conf="expandable_segments:True",
            parts={"weights": 0.5, "activations": 1.5, "loss": 0.0},
            note="a note",
        ),
        peak_rss_gib=0.7,
        cpu_wait=0.02,
        settings={"torch": "2.14.1", "lr0": 0.01, "nbs": 16, "show_labels": True},
    )


def test_a_trial_is_one_nested_run_with_every_name_of_the_table(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "names", tmp_path / "artifacts")
    tracker.start_study(study(), "note")
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "log.txt").write_text("hello")
    spec = make_spec(amp=True)
    run_id = tracker.start_trial(spec)
    for report in result().epochs:
        tracker.log_epoch(run_id, report)
    tracker.finish_trial(run_id, spec, result(), TrialFolder(folder))

    client = MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.info.run_name == "b4×a1 amp" and run.info.status == "FINISHED"
    assert {*PARAMS, "nbs"} == set(run.data.params), "and what the training really used"
    parts = {"part_weights_gib", "part_activations_gib"}
    assert set(METRICS) | set(EPOCH_METRICS) | parts == set(run.data.metrics)
    assert {*TRIAL_TAGS, *SPEC_TAGS} - {
        "reason",
        "implied_by",
        "confirms",
        "device",
        "host",
    } <= set(run.data.tags)
    assert run.data.tags["versions"] == "torch 2.14.1"
    assert run.data.tags["vram_source"] == "simulated"
    history = client.get_metric_history(run_id, "epoch_map50")
    assert [(m.step, m.value) for m in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [a.path for a in client.list_artifacts(run_id)] == ["log.txt"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.COMPLETE, "FINISHED"),
        (Outcome.PRUNED, "KILLED"),
        (Outcome.COVERED, "KILLED"),
        (Outcome.OUT_OF_MEMORY, "FAILED"),
        (Outcome.OVER_BUDGET, "FAILED"),
        (Outcome.IMPLIED, "FAILED"),
        (Outcome.AMP_REFUSED, "FAILED"),
        (Outcome.CRASHED, "FAILED"),
        (Outcome.INTERRUPTED, "KILLED"),
    ],
)
def test_each_outcome_has_its_status(
    uri: str, make_spec, tmp_path: Path, outcome: Outcome, status: str
) -> None:
    tracker = Tracker(uri, "status", tmp_path)
    tracker.start_study(study(), "")
    run_id = tracker.start_trial(make_spec())
    tracker.finish_trial(run_id, make_spec(), result(outcome), TrialFolder(tmp_path))
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.status, run.data.tags["outcome"]) == (status, outcome.value)


def test_a_run_says_who_made_it_by_what_and_on_which_data(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "origin", tmp_path)
    tracker.start_study(study(), "")
    spec = make_spec(dataset=DatasetFacts("0123abcd", images=12, boxes=18))
    run_id = tracker.start_trial(spec)
    tracker.log_spec(run_id, spec)
    tracker.log_spec(tracker.start_trial(spec), spec)  # on the same data
    tracker.finish_trial(run_id, spec, result(), TrialFolder(tmp_path))
    run = MlflowClient(uri).get_run(run_id)
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "0123abcd")
    assert json.loads(given.dataset.source) == {"uri": spec.data_yaml}
    assert json.loads(given.dataset.profile) == {"num_rows": 12, "boxes": 18, "classes": 10}
    assert [(t.key, t.value) for t in given.tags] == [("mlflow.data.context", "training")]
    own = {k.removeprefix("mlflow."): v for k, v in run.data.tags.items()}
    parent = MlflowClient(uri).get_run(own["parentRunId"])
    assert [d.dataset for d in parent.inputs.dataset_inputs] == [given.dataset]
    assert own["user"] == getpass.getuser() and own["source.name"] == "python -m sweeper"
    assert (own["source.type"], own["source.git.commit"]) == ("LOCAL", "c")


def test_what_a_later_part_was_told_otherwise_makes_no_other_run(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "parts", tmp_path)
    tracker.start_study(study(), "")
    run_id = tracker.start_trial(make_spec())
    for workers in (8, 4):
        part = replace(result(), settings={"workers": workers})
        tracker.finish_trial(run_id, make_spec(), part, TrialFolder(tmp_path))
    assert MlflowClient(uri).get_run(run_id).data.params["workers"] == "8"


def test_what_the_machine_did_is_in_the_run_once(uri: str, make_spec, tmp_path: Path) -> None:
    tracker, folder = Tracker(uri, "system", tmp_path), TrialFolder(tmp_path)
    tracker.start_study(study(), "")
    run_id = tracker.start_trial(make_spec())
    for step in (0, 1):
        sample = SystemSample(step, 1000.0 + step, {"cpu_utilization_percentage": 50.0 + step})
        folder.add_sample(sample)
    tracker.log_sample(run_id, sample)
    with (tmp_path / "system.jsonl").open("a") as lines:
        lines.write('{"step": 2, "ti')  # cut by a kill
    tracker.finish_trial(run_id, make_spec(), result(), folder)
    history = MlflowClient(uri).get_metric_history(run_id, "system/cpu_utilization_percentage")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (0, 50.0, 1_000_000),
        (1, 51.0, 1_001_000),
    ]


def test_a_study_is_read_back_in_the_order_of_its_trials(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "read", tmp_path)
    tracker.start_study(study("mine"), "")
    for number in (1, 0):
        tracker.start_trial(make_spec(study="mine", number=number))
    found = read_study(uri, "read", None)
    assert found.study == replace(study("mine"), tracking_uri=uri, experiment="read")
    assert found.study.status is StudyStatus.RUNNING
    assert [t.number for t in found.trials] == [0, 1]
    assert [t.result for t in found.trials] == [None, None]
    assert found.trials[0].peak_gib is None


def test_a_trial_is_read_back_with_its_types(uri: str, make_spec, tmp_path: Path) -> None:
    tracker = Tracker(uri, "types", tmp_path)
    tracker.start_study(study(), "")
    spec = make_spec(
        study="s", batch=2, accumulate=8, amp=True, seed=3, overrides=("a=1", "b='x y'")
    )
    run_id = tracker.start_trial(spec)
    came = replace(result(Outcome.OVER_BUDGET), map50=float("nan"), implied_by=7, wall_time_s=0.1)
    tracker.finish_trial(run_id, spec, came, TrialFolder(tmp_path))
    (trial,) = read_study(uri, "types", "s").trials
    assert (trial.spec, trial.run_id) == (spec, run_id)
    assert trial.result is not None and trial.map50 is None
    same = replace(trial.result, map50=None)
    assert same == replace(came, map50=None, epochs=(), settings={})
    assert trial.parts == {"weights": 0.5, "activations": 1.5, "context": 0.5}
    assert read_curve(uri, trial, "map50") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_the_answer_is_written_to_the_parent_run(uri: str, make_spec, tmp_path: Path) -> None:
    tracker = Tracker(uri, "answer", tmp_path / "artifacts")
    tracker.start_study(study(), "")
    trial, deleted = (tracker.start_trial(make_spec(study="s", number=n)) for n in (3, 4))
    MlflowClient(uri).delete_run(deleted)
    (tmp_path / "report.md").write_text("hello")
    files = [(tmp_path / "report.md", None), (tmp_path / "report.md", "report")]
    best, tag, ranks = {"best_map50": 0.5}, {"best_trial": "3"}, {deleted: 2, trial: 1}
    link = publish_report(uri, "answer", study(), best, tag, "*note*", files, ranks)
    page = f"http://127.0.0.1:5000/#/experiments/{tracker.experiment_id}/runs?"
    assert link.startswith(page + "workflowType=machine_learning&searchFilter=tags.study+%3D+%27s")
    assert link.endswith("&orderByKey=metrics.%60rank%60&orderByAsc=true")
    client = MlflowClient(uri)
    assert client.get_run(trial).data.metrics == {"rank": 1}
    (run,) = client.search_runs([tracker.experiment_id], "tags.kind = 'study'")
    data, parent = run.data, run.info.run_id
    assert data.params == {
        "space": "batch=4",
        "fixed": "seed=1",
        "budget_gib": "2.5",
        "budget_source": "the card",
    }
    assert set(data.params) == set(STUDY_PARAMS) and set(STUDY_TAGS) <= set(data.tags)
    assert (data.tags["n_trials"], data.tags["machine"]) == ("4", "m")
    assert data.metrics == {"best_map50": 0.5}
    assert (data.tags["best_trial"], data.tags["mlflow.note.content"]) == ("3", "*note*")
    assert [a.path for a in client.list_artifacts(parent)] == ["report", "report.md"]


def test_what_mlflow_would_refuse_as_too_long_is_cut(uri: str, make_spec, tmp_path: Path) -> None:
    tracker = Tracker(uri, "long", tmp_path)
    tracker.start_study(study(space="x" * 9000), "n" * 9000)
    spec = make_spec(study="s", overrides=("y" * 9000,))
    run_id = tracker.start_trial(spec)
    crashed = replace(result(Outcome.CRASHED), reason="z" * 9000)
    tracker.finish_trial(run_id, spec, crashed, TrialFolder(tmp_path))
    assert len(MlflowClient(uri).get_run(run_id).data.tags["reason"]) == 8000
    with pytest.raises(StudyError, match="longer than the 8000 characters that a tag"):
        read_study(uri, "long", "s")


def test_what_no_folder_knows_is_read_back_as_interrupted(
    uri: str, make_spec, tmp_path: Path
) -> None:
    tracker = Tracker(uri, "orphans", tmp_path)
    tracker.start_study(study(), "")
    tracker.start_trial(make_spec(study="s"))
    tracker.kill_unknown_runs(set())
    (trial,) = read_study(uri, "orphans", "s").trials
    assert trial.outcome is Outcome.INTERRUPTED


def test_a_study_that_is_resumed_keeps_its_parent_run(uri: str, tmp_path: Path) -> None:
    for _ in range(2):
        tracker = Tracker(uri, "resume", tmp_path)
        tracker.start_study(study("mine"), "")
        tracker.finish_study(done=True)
    runs = MlflowClient(uri).search_runs([tracker.experiment_id])
    assert len(runs) == 1 and runs[0].info.status == "FINISHED"


def test_two_studies_of_one_name_on_one_server_leave_each_other_alone(
    uri: str, make_spec, tmp_path: Path
) -> None:
    first, second = (Tracker(uri, "shared", tmp_path) for _ in range(2))
    first.start_study(replace(study("same"), id="one"), "")
    runs = first.start_trial(make_spec(study="same"))
    second.start_study(replace(study("same"), id="two"), "")
    second.start_trial(make_spec(study="same", number=7))
    second.kill_unknown_runs(set())
    second.finish_study(done=False)
    assert MlflowClient(uri).get_run(runs).info.status == "RUNNING"
    assert [t.number for t in read_study(uri, "shared", "same").trials] == [7], "the latest"
    with pytest.raises(StudyError, match=r"study\.name=same is not in"):
        publish_report(uri, "shared", replace(study("same"), id="three"), {}, {}, "", [], {})


def test_a_study_of_before_ids_is_found_by_its_name_once(
    uri: str, make_spec, tmp_path: Path
) -> None:
    for tag in ("", "two"):  # an older study, then a stranger's of today
        tracker = Tracker(uri, "older", tmp_path)
        tracker.start_study(replace(study("same"), id=tag), "")
        run_id = tracker.start_trial(make_spec(study="same"))
        if not tag:
            client, old = MlflowClient(uri), run_id
            for run in client.search_runs([tracker.experiment_id]):
                client.delete_tag(run.info.run_id, "study_id")
    for _ in range(2):
        resumed = Tracker(uri, "older", tmp_path)
        resumed.start_study(replace(study("same"), id="one"), "", older=True)
        (trial,) = read_study(uri, "older", "same").trials
        assert trial.run_id == old
    runs = client.search_runs([resumed.experiment_id])
    assert sorted(r.data.tags["study_id"] for r in runs) == ["one", "one", "two", "two"]


def test_an_unknown_study_is_said_with_what_to_do(uri: str) -> None:
    with pytest.raises(StudyError, match=r"study\.name=nothing is not in .* python -m sweeper"):
        read_study(uri, "read", "nothing")


def test_a_database_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no study is in .* python -m sweeper"):
        read_study(f"sqlite:///{tmp_path}/nothing.db", "x", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (MlflowException("gone\nand more"), "tracking.uri=u does not answer: gone. Start"),
        (OperationalError("select", {}, Exception("no table")), "tracking.uri=u does not answer"),
        (ConnectionError("refused"), "tracking.uri=u does not answer: refused"),
        (JSONDecodeError("no JSON", "<html>", 0), "tracking.uri=u does not answer: no JSON"),
        (
            MlflowException("run is deleted", error_code=RESOURCE_DOES_NOT_EXIST),
            "tracking.uri=u refuses: run is deleted",
        ),
    ],
)
def test_every_fault_of_mlflow_is_one_message(fault: Exception, said: str) -> None:
    with pytest.raises(StudyError) as raised, readable_faults("u"):
        raise fault
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


def test_the_curve_of_a_very_long_run_gives_way_to_the_rest_of_the_record() -> None:
    classes = {f"class {n}": 0.5 for n in range(1203)}
    long = replace(result(), curve=(0.1234,) * 3000, class_map50=classes)
    (text,) = tags.result_tag(long).values()
    assert '"curve": []' in text and '"map50"' in text
    (text,) = tags.result_tag(replace(long, curve=(0.1234,) * 300)).values()
    assert text.count("0.1234") == 300 and '"class_map50": {}' in text
    few = {name: 0.5 for name in list(classes)[:80]}
    (text,) = tags.result_tag(replace(long, curve=(0.1234,) * 300, class_map50=few)).values()
    assert text.count("0.1234") == 300 and text.count('"class ') == 80
