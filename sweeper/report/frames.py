"""A study as pandas DataFrames: typed columns, units in their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from sweeper.report.cells import Cell
from sweeper.report.findings import Findings
from sweeper.tracking import TrialRecord, read_curve

Getter = Callable[[TrialRecord], Any]

_TEXT = ("model", "data", "optimizer")
_COUNTS = ("optimizer_steps", "iterations", "best_epoch")
_METRICS = (
    *("map50", "map50_95", "peak_gib", "wall_time_s", "train_time_s", "images_per_s"),
    *("peak_rss_gib", "context_gib"),
)
CURVES = {
    "map50": "epoch_map50",
    "map50_95": "epoch_map50_95",
    "train_loss": "epoch_train_loss",
    "val_loss": "epoch_val_loss",
}


def _param(name: str) -> Getter:
    return lambda t: t.params.get(name)


def _numeric(name: str) -> Getter:
    return lambda t: float(t.params[name]) if t.params.get(name, "None") != "None" else None


def _metric(name: str) -> Getter:
    return lambda t: t.metric(name)


# Column -> dtype and where it comes from; Int64, Float64 and string can be missing.
_COLUMNS: dict[str, tuple[str, Getter]] = {
    "trial": ("Int64", lambda t: t.number),
    "strategy": ("string", lambda t: t.strategy),
    "batch": ("Int64", lambda t: t.batch),
    "accumulate": ("Int64", lambda t: t.accumulate),
    "effective_batch": ("Int64", lambda t: t.batch * t.accumulate),
    "amp": ("boolean", lambda t: t.amp),
    "seed": ("Int64", lambda t: t.seed),
    "outcome": ("string", lambda t: t.outcome),
    "reason": ("string", lambda t: t.reason),
    **{k: ("Float64", _metric(k)) for k in _METRICS},
    "vram_source": ("string", lambda t: t.vram_source),
    **{k: ("Int64", _metric(k)) for k in _COUNTS},
    **{k: ("string", _param(k)) for k in _TEXT},
    "imgsz": ("Int64", _numeric("imgsz")),
    "epochs": ("Int64", lambda t: t.epochs),
    "lr0": ("Float64", _numeric("lr0")),
    "budget_gib": ("Float64", _numeric("budget_gib")),
    "implied_by": ("Int64", lambda t: t.implied_by),
    "confirms": ("Int64", lambda t: t.confirms),
    "overrides": ("string", lambda t: t.tags.get("overrides", "")),
    "run_id": ("string", lambda t: t.run_id),
}


def trials_frame(findings: Findings) -> pd.DataFrame:
    """One row per trial in order; the peak's parts are the columns ``part_*_gib``."""
    trials = findings.study.trials
    names = {t.number: c.name for c in findings.cells for t in c.trials}
    columns = {
        name: pd.array([get(t) for t in trials], dtype=dtype)
        for name, (dtype, get) in _COLUMNS.items()
    }
    cell = pd.array([names[t.number] for t in trials], dtype="string")
    parts = sorted({k for t in trials for k in t.metrics if k.startswith("part_")})
    split = {k: pd.array([t.metric(k) for t in trials], dtype="Float64") for k in parts}
    return pd.DataFrame({"trial": columns.pop("trial"), "cell": cell, **columns, **split})


def curves_frame(uri: str, cells: list[Cell]) -> pd.DataFrame:
    """One row per epoch of every trial of the cells: four questions to MLflow per trial."""
    rows = [
        {
            "trial": trial.number,
            "cell": cell.name,
            "epoch": epoch,
            "metric": column,
            "value": value,
        }
        for cell in cells
        for trial in cell.trials
        for column, name in CURVES.items()
        for epoch, value in read_curve(uri, trial.run_id, name)
    ]
    long = pd.DataFrame(rows, columns=["trial", "cell", "epoch", "metric", "value"])
    wide = long.pivot(index=["trial", "cell", "epoch"], columns="metric", values="value")
    frame = wide.reindex(columns=[*CURVES]).reset_index().rename_axis(columns=None)
    dtypes = {"trial": "Int64", "cell": "string", "epoch": "Int64"}
    return frame.astype(dtypes | dict.fromkeys(CURVES, "Float64"))
