"""A study of many trials, made by copying those that it has."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sweeper.trial.folder import TrialFolder
from sweeper.trial.study_folder import StudyFolder


def multiply_folders(study: StudyFolder, copies: int) -> None:
    """Copy every trial ``copies`` times under new numbers, with an override of its own."""
    folders = list(TrialFolder.all_of(study.trials))
    for folder in folders:
        spec, result = folder.read_spec(), folder.read_result()
        assert result is not None
        for copy in range(1, copies + 1):
            number = copy * len(folders) + spec.number
            own = (*spec.overrides, f"train.momentum=0.{copy}")
            other = study.trial(number)
            other.prepare(replace(spec, number=number, overrides=own))
            other.write_result(result)
            other.run_id.write_text(folder.run_id.read_text())


def multiply_runs(database: Path, copies: int) -> None:
    """The same with the rows of MLflow's database, under new run ids."""
    with closing(sqlite3.connect(database)) as link, link:
        trials = link.execute(
            "select run_uuid, value from tags where key = 'trial' order by cast(value as int)"
        ).fetchall()
        for table in ("runs", "params", "tags", "latest_metrics", "metrics"):
            names = [row[1] for row in link.execute(f"pragma table_info({table})")]
            for run, number in trials:
                rows = link.execute(
                    f"select {', '.join(names)} from {table} where run_uuid = ?", (run,)
                ).fetchall()
                marks = ", ".join("?" * len(names))
                copied = (
                    [_renamed(dict(zip(names, row, strict=True)), copy, int(number), len(trials))
                     for copy in range(1, copies + 1) for row in rows]
                )  # fmt: skip
                link.executemany(f"insert into {table} values ({marks})", copied)


def _renamed(row: dict, copy: int, number: int, trials: int) -> tuple:
    row["run_uuid"] = f"{row['run_uuid'][:24]}{copy:08d}"
    if row.get("key") == "trial":
        row["value"] = str(copy * trials + number)
    if row.get("key") == "mlflow.sweeper.spec":
        spec = json.loads(row["value"])
        spec["number"] = copy * trials + number
        spec["overrides"].append(f"train.momentum=0.{copy}")
        row["value"] = json.dumps(spec)
    return tuple(row.values())
