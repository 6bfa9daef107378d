"""A study of many trials, made by copying rows of MLflow's database."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def multiply_trials(database: Path, copies: int) -> None:
    """Copy every trial of the one study ``copies`` times under new numbers and run ids."""
    with sqlite3.connect(database) as link:
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
    if row.get("key") == "overrides":
        row["value"] += f" train.momentum=0.{copy}"
    return tuple(row.values())
