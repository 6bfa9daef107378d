"""What sweeper writes to MLflow: one parent run per study, one nested run per trial."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from sweeper.tracking import tags
from sweeper.tracking.names import (
    METRICS,
    PART_METRIC,
    SPEC_TAGS,
    STUDY_PARAMS,
    STUDY_TAGS,
    TRIAL_TAGS,
    dataset_of,
    effective_params,
    epoch_points,
    params_of,
    sample_points,
    status_of,
)
from sweeper.tracking.reader import (
    LAST_START,
    STUDY_ID,
    find_older_study,
    find_study_by_id,
)
from sweeper.trial.folder import TrialFolder, one_at_a_time
from sweeper.trial.readings import EpochReport, SystemSample
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import DatasetFacts, TrialSpec
from sweeper.trial.study_record import RUNNING, StudyRecord

# What could not be sent is sent later. MLflow's own second attempt would make a run again whose
# answer was lost.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # the study has its own


PARENT_TRIES = 20


class Tracker:
    """Writes one study to an MLflow server or database."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        """Connect; a new experiment in a local database keeps its files in ``artifacts``."""
        _create_database(uri)
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        if found is not None:
            self.experiment_id: str = found.experiment_id
        else:
            location = None if uri.startswith("http") else artifacts.resolve().as_uri()
            self.experiment_id = self._client.create_experiment(experiment, location)
        self._parent_id = self._study_id = ""
        self._told: set[tuple[str, DatasetFacts | None]] = set()  # data sets of the study's run
        self._origin: dict[str, str] = {}

    def start_study(
        self, study: StudyRecord, note: str, older: bool = False, leads: bool = True
    ) -> None:
        """Open the study's parent run, new or found by its id.

        A resumed study keeps the parameters that it has; its tags are those of the latest start.

        Args:
            study: What was asked.
            note: Markdown that the MLflow UI shows on top.
            older: Whether it may have runs of before studies had ids: they are found by its name
                and given the id.
            leads: Whether the run is this driver's to write; one that has joined waits for it.
        """
        self._study_id, self._origin = study.id, tags.origin_tags(study)
        parent = find_study_by_id(self._client, self.experiment_id, study.id)
        if not leads:
            self._parent_id = (parent or self._await_study(study.id)).info.run_id
            return
        if parent is None and older:
            parent = self._adopt(study)
        if parent is None:
            own = {"study": study.name, STUDY_ID: study.id, "kind": "study"}
            own |= {MLFLOW_RUN_NAME: study.name}
            parent = self._client.create_run(self.experiment_id, tags=own)
            params = _known(STUDY_PARAMS, study, MAX_PARAM_VAL_LENGTH)
            logged = [Param(k, v) for k, v in params.items()]
            self._client.log_batch(parent.info.run_id, params=logged)
        self._parent_id = parent.info.run_id
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        own = {LAST_START: now, MLFLOW_RUN_NOTE: note[:MAX_TAG_VAL_LENGTH]}
        own |= _known(STUDY_TAGS, study, MAX_TAG_VAL_LENGTH) | tags.study_tag(study)
        own |= self._origin
        self._client.log_batch(self._parent_id, tags=[RunTag(k, v) for k, v in own.items()])
        self._client.update_run(self._parent_id, status="RUNNING")

    def _await_study(self, study_id: str) -> Run:
        """The parent run that another driver is about to make."""
        for _ in range(PARENT_TRIES):
            time.sleep(1)
            parent = find_study_by_id(self._client, self.experiment_id, study_id)
            if parent is not None:
                return parent
        raise TimeoutError("the study's own run is not there yet")

    def _adopt(self, study: StudyRecord) -> Run | None:
        """Give the study's older runs its id, the parent's last: till then the rest is found."""
        parent, trials = find_older_study(self._client, self.experiment_id, study.name)
        for run in [*trials, *([parent] if parent else [])]:
            self._client.set_tag(run.info.run_id, STUDY_ID, study.id)
        return parent

    def start_trial(self, spec: TrialSpec) -> str:
        """Open the trial's run and return its id."""
        own = {
            MLFLOW_PARENT_RUN_ID: self._parent_id,
            MLFLOW_RUN_NAME: spec.label,
            "kind": "trial",
            STUDY_ID: self._study_id,
            "outcome": RUNNING,
            **self._origin,
            **{k: get(spec)[:MAX_TAG_VAL_LENGTH] for k, get in SPEC_TAGS.items()},
            **tags.spec_tag(spec),
        }
        return str(self._client.create_run(self.experiment_id, tags=own).info.run_id)

    def find_trial(self, spec: TrialSpec) -> str | None:
        """The id of the trial's run, made without our hearing of it; None if there is none."""
        study = f"tags.kind = 'trial' and tags.{STUDY_ID} = '{self._study_id}'"
        query = f"{study} and tags.trial = '{spec.number}'"
        runs = self._client.search_runs([self.experiment_id], query, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def log_spec(self, run_id: str, spec: TrialSpec) -> None:
        """Write what the trial is told, its data set too; `finish_trial` adds what is missing."""
        params = [Param(k, v) for k, v in params_of(spec).items()]
        self._client.log_batch(run_id, params=params)
        self._log_data(run_id, spec)

    def _log_data(self, run_id: str, spec: TrialSpec) -> None:
        """Name the data set as an input of the trial's run, and once of the study's."""
        datasets = dataset_of(spec)
        if not datasets:
            return
        if (told := (self._parent_id, spec.dataset)) not in self._told:
            self._client.log_inputs(self._parent_id, datasets)
            self._told.add(told)
        self._client.log_inputs(run_id, datasets)  # last: without it `finish_trial` does both

    def kill_unknown_runs(self, known: set[str]) -> None:
        """End as killed the study's open trial runs whose ids are not ``known``."""
        parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent_id}'"
        query = f"{parent} and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self.experiment_id], query):
            if run.info.run_id not in known:
                result = TrialResult(Outcome.INTERRUPTED, "the study ended before it had begun")
                own = {"outcome": result.outcome.value, **tags.result_tag(result)}
                logged = [RunTag(k, v) for k, v in own.items()]
                self._client.log_batch(run.info.run_id, tags=logged)
                self._client.set_terminated(run.info.run_id, "KILLED")

    def log_epoch(self, run_id: str, report: EpochReport) -> None:
        """Add one point to the epoch curves; logging a point twice leaves one."""
        self._client.log_batch(run_id, metrics=epoch_points(report))

    def log_sample(self, run_id: str, sample: SystemSample) -> None:
        """Add to the curves of the machine, as `log_epoch` does."""
        self._client.log_batch(run_id, metrics=sample_points(sample))

    def finish_trial(
        self, run_id: str, spec: TrialSpec, result: TrialResult, folder: TrialFolder
    ) -> None:
        """Write everything that came back and end the run."""
        # The record's own time: logging a result twice leaves one point.
        now = int((folder.judged_at if folder.has_result else time.time()) * 1000)
        values = {k: get(result) for k, get in METRICS.items()}
        parts = result.memory.parts if result.memory else {}
        values |= {PART_METRIC.format(k): v for k, v in parts.items() if v}
        metrics = [Metric(k, float(v), now, 0) for k, v in values.items() if v is not None]
        for report in result.epochs:
            metrics += epoch_points(report)
        for sample in folder.read_samples():
            metrics += sample_points(sample)
        texts = {k: get(result)[:MAX_TAG_VAL_LENGTH] for k, get in TRIAL_TAGS.items()}
        own = {k: text for k, text in texts.items() if text} | tags.result_tag(result)
        logged = [RunTag(k, text) for k, text in own.items()]
        run = self._client.get_run(run_id)
        # MLflow refuses to change what a part before has really used.
        told = params_of(spec) | effective_params(result)
        params = [Param(k, v) for k, v in told.items() if k not in run.data.params]
        self._client.log_batch(run_id, metrics, params, logged)
        if not run.inputs.dataset_inputs:
            self._log_data(run_id, spec)
        for file in folder.artifacts:
            self._client.log_artifact(run_id, str(file))
        self._client.set_terminated(run_id, status_of(result.outcome))

    def finish_study(self, done: bool) -> None:
        """End the parent run; `page.publish_report` writes the answer to it."""
        self._client.set_terminated(self._parent_id, "FINISHED" if done else "KILLED")


def _known(
    names: dict[str, Callable[[StudyRecord], str | None]], study: StudyRecord, longest: int
) -> dict[str, str]:
    """What the study has of the names, each cut to the length that MLflow takes."""
    values = {name: get(study) for name, get in names.items()}
    return {name: value[:longest] for name, value in values.items() if value is not None}


def _create_database(uri: str) -> None:
    """Create a missing SQLite database whole: MLflow cannot use one with half of its tables."""
    scheme, _, name = uri.partition("sqlite:///")
    path = Path(name)
    if scheme or not name or path.exists():
        return
    with one_at_a_time(path.parent):
        if path.exists():
            return
        draft = path.with_suffix(".part")
        draft.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments()
        os.replace(draft, path)
