"""Takes a study's runs out of MLflow's lists."""

from __future__ import annotations

from mlflow import MlflowClient

from sweeper.tracking.faults import readable_faults
from sweeper.tracking.reader import STUDY_ID, find_study_by_id, find_trial_runs, is_missing


def delete_runs(uri: str, experiment: str, name: str, study_id: str) -> int:
    """Mark a study's own run and those of its trials as deleted; how many there were.

    MLflow keeps what is marked so, files included, until ``mlflow gc``. Runs of a study of before
    there were ids are left alone: a name may be another study's, too.

    Raises:
        StudyError: MLflow does not answer, or refuses.
    """
    if not study_id or is_missing(uri):
        return 0
    with readable_faults(uri):
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return 0
        runs = find_trial_runs(client, found.experiment_id, f"tags.{STUDY_ID} = '{study_id}'")
        parent = find_study_by_id(client, found.experiment_id, study_id)
        runs = [r for r in [*runs, *([parent] if parent else [])] if r.data.tags["study"] == name]
        for run in runs:
            client.delete_run(run.info.run_id)
        return len(runs)
