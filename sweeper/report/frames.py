"""A study as pandas DataFrames: typed columns, units in their names."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pandas as pd

from sweeper.report.findings import Findings
from sweeper.trial.levers import LEVERS
from sweeper.trial.study_record import RecordedTrial

Getter = Callable[[RecordedTrial], Any]

CURVES = ("map50", "map50_95", "train_loss", "val_loss")


def _spec(name: str) -> Getter:
    return lambda t: getattr(t.spec, name)


def _text(name: str) -> Getter:
    return lambda t: None if getattr(t.spec, name) is None else str(getattr(t.spec, name))


def _result(name: str) -> Getter:
    return lambda t: getattr(t.result, name) if t.result else None


def _memory(trial: RecordedTrial) -> Any:
    return trial.result.memory if trial.result else None


def _parts(trial: RecordedTrial) -> dict[str, float]:
    return {k: v for k, v in trial.parts.items() if k != "context"}


# Column -> dtype and where it comes from; Int64, Float64 and string can be missing.
_COLUMNS: dict[str, tuple[str, Getter]] = {
    "trial": ("Int64", lambda t: t.number),
    "strategy": ("string", _spec("strategy")),
    "batch": ("Int64", _spec("batch")),
    "accumulate": ("Int64", _spec("accumulate")),
    "effective_batch": ("Int64", _spec("effective_batch")),
    "amp": ("boolean", lambda t: bool(t.spec.amp)),
    "amp_dtype": ("string", _result("amp_dtype")),
    **{name: ("string", _text(name)) for name in LEVERS},
    "seed": ("Int64", _spec("seed")),
    "outcome": ("string", lambda t: t.state),
    "reason": ("string", lambda t: t.reason),
    "map50": ("Float64", _result("map50")),
    "map50_95": ("Float64", _result("map50_95")),
    "peak_gib": ("Float64", lambda t: t.peak_gib),
    "wall_time_s": ("Float64", _result("wall_time_s")),
    "train_time_s": ("Float64", _result("train_time_s")),
    "images_per_s": ("Float64", _result("images_per_s")),
    "peak_rss_gib": ("Float64", _result("peak_rss_gib")),
    "cpu_wait": ("Float64", _result("cpu_wait")),
    "context_gib": ("Float64", lambda t: m.context_gib if (m := _memory(t)) else None),
    "vram_source": ("string", lambda t: t.vram_source),
    "optimizer_steps": ("Int64", _result("optimizer_steps")),
    "iterations": ("Int64", _result("iterations")),
    "best_epoch": ("Int64", _result("best_epoch")),
    "model": ("string", _spec("model")),
    "data": ("string", _spec("data")),
    "optimizer": ("string", _spec("optimizer")),
    "imgsz": ("Int64", _spec("imgsz")),
    "epochs": ("Int64", _spec("epochs")),
    "trained_epochs": ("Int64", _result("trained")),
    "epoch_s": ("Float64", _result("epoch_s")),
    "whole_run_s": ("Float64", lambda t: t.whole_s),
    "lr0": ("Float64", lambda t: t.spec.train_args.get("lr0")),
    "budget_gib": ("Float64", _spec("limit_gib")),
    "implied_by": ("Int64", _result("implied_by")),
    "confirms": ("Int64", _spec("confirms")),
    "device": ("string", _result("device")),
    "overrides": ("string", lambda t: shlex.join(t.spec.overrides)),
    "run_id": ("string", lambda t: t.run_id),
}


def trials_frame(findings: Findings) -> pd.DataFrame:
    """One row per trial in order.

    ``end_map50``, ``end_low`` and ``end_high`` are of its cell: mAP@0.5 at the end of the whole
    run, reached or expected, and where it lies 4 times of 5. The peak's parts are the columns
    ``part_*_gib``.
    """
    trials = findings.trials
    names = {t.number: c.name for c in findings.cells for t in c.trials}
    columns = {
        name: pd.array([_known(get(t)) for t in trials], dtype=dtype)
        for name, (dtype, get) in _COLUMNS.items()
    }
    ends = [findings.ends.get(names[t.number]) for t in trials]
    outlook = {
        f"end_{name}": pd.array([getattr(end, name) if end else None for end in ends], "Float64")
        for name in ("map50", "low", "high")
    }
    cell = pd.array([names[t.number] for t in trials], dtype="string")
    parts = [_parts(t) for t in trials]
    split = {
        f"part_{name}_gib": pd.array([p.get(name) for p in parts], dtype="Float64")
        for name in sorted({name for p in parts for name in p})
    }
    return pd.DataFrame(
        {"trial": columns.pop("trial"), "cell": cell, **columns, **outlook, **split}
    )


def curves_frame(findings: Findings) -> pd.DataFrame:
    """One row per epoch of every trial; where MLflow is asked, four questions per trial."""
    rows = [
        {
            "trial": trial.number,
            "cell": cell.name,
            "epoch": epoch,
            "metric": name,
            "value": value,
        }
        for cell in findings.cells
        for trial in cell.trials
        for name in CURVES
        for epoch, value in findings.curve(trial, name)
    ]
    long = pd.DataFrame(rows, columns=["trial", "cell", "epoch", "metric", "value"])
    wide = long.pivot(index=["trial", "cell", "epoch"], columns="metric", values="value")
    frame = wide.reindex(columns=[*CURVES]).reset_index().rename_axis(columns=None)
    dtypes = {"trial": "Int64", "cell": "string", "epoch": "Int64"}
    return frame.astype(dtypes | dict.fromkeys(CURVES, "Float64"))


def _known(value: Any) -> Any:
    """The value; None where it is NaN, the one thing that differs from itself."""
    return value if value == value else None
