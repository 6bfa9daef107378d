"""Studies with fixed values, written through the real Tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from sweeper.tracking import StudyRecord, Tracker, read_study
from sweeper.trial.record import (
    EpochReport,
    MemoryReading,
    Outcome,
    TrialResult,
    TrialSpec,
    cell_label,
    summarise_epochs,
)

BUDGET_GIB = 23.65
PARAMS = {
    "space": "memory=baseline,small_batch,accumulate,amp,accumulate_amp (5 cells)",
    "fixed": "study.name=article",
    "budget_gib": f"{BUDGET_GIB}",
    "budget_source": "card rtx3090 (vram=rtx3090)",
}
TAGS = {
    "command": "python -m sweeper -m memory=baseline,small_batch,accumulate study.name=article",
    "machine": "no GPU; A Processor, 2 cores, 8 GiB RAM; Linux 6.1",
    "versions": "ultralytics 8.4.190 · torch 2.14.1",
    "git_commit": "0123456789ab",
    "n_trials": "7",
}


@dataclass(frozen=True)
class Row:
    """One trial of a synthetic study; ``map50`` is that of each epoch."""

    batch: int
    accumulate: int
    amp: bool
    outcome: Outcome | None = Outcome.COMPLETE
    peak_gib: float | None = None
    map50: Sequence[float] = ()
    wall_time_s: float = 0.0
    strategy: str = ""
    reason: str = ""
    seed: int = 0
    source: str = "simulated"
    tags: dict[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()


# The article's five strategies and batch 8, with its own readings where it gives them.
ARTICLE = (
    Row(16, 1, False, Outcome.OUT_OF_MEMORY, 31.4, strategy="baseline",
        reason="simulated: b16×a1 at 640 px takes 31.40 GiB, 7.75 GiB over the budget; not "
               "trained"),
    Row(8, 1, False, Outcome.COMPLETE, 18.2, (0.11, 0.29, 0.405), 13000.0),
    Row(4, 1, False, Outcome.COMPLETE, 11.5, (0.10, 0.30, 0.398), 13080.0, "small_batch"),
    Row(4, 4, False, Outcome.COMPLETE, 12.1, (0.08, 0.31, 0.423), 13320.0, "accumulate"),
    Row(16, 1, True, Outcome.OUT_OF_MEMORY, 24.9, strategy="amp",
        reason="simulated: b16×a1 amp at 640 px takes 24.90 GiB, 1.25 GiB over the budget; not "
               "trained"),
    Row(4, 4, True, Outcome.COMPLETE, 9.7, (0.09, 0.30, 0.419), 11400.0, "accumulate_amp"),
    Row(32, 1, False, Outcome.IMPLIED, 57.1, reason="b16×a1 does not fit either",
        tags={"implied_by": "0"}),
)  # fmt: skip


def write_study(
    folder: Path,
    rows: Sequence[Row],
    name: str = "article",
    done: bool | None = True,
    params: dict[str, str] = PARAMS,
) -> str:
    """Write the study and return its tracking URI; ``done=None`` leaves it running."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = Tracker(uri, "sweeper", folder / "mlartifacts")
    tracker.start_study(name, params, "", TAGS)
    client = MlflowClient(uri)
    for number, row in enumerate(rows):
        run_id = tracker.start_trial(_spec(name, number, row))
        for key, value in row.tags.items():
            client.set_tag(run_id, key, value)
        if row.outcome is None:
            for report in _reports(row):
                tracker.log_epoch(run_id, report)
        else:
            tracker.finish_trial(run_id, _result(row), folder)
    if done is not None:
        tracker.finish_study(done)
    return uri


def read(folder: Path, rows: Sequence[Row], **options: object) -> StudyRecord:
    """Write a study and read it back."""
    return read_study(write_study(folder, rows, **options), "sweeper", None)  # type: ignore[arg-type]


def _spec(study: str, number: int, row: Row) -> TrialSpec:
    label = cell_label(row.batch, row.accumulate, row.amp)
    cell = (f"batch={row.batch}", f"accumulate={row.accumulate}", f"amp={str(row.amp).lower()}")
    return TrialSpec(
        study=study,
        number=number,
        strategy=row.strategy or label,
        batch=row.batch,
        accumulate=row.accumulate,
        amp=row.amp,
        model="yolo11x",
        model_file="yolo11x.yaml",
        data="coco128",
        data_yaml="coco128.yaml",
        nc=80,
        boxes_per_image=7.3,
        imgsz=640,
        epochs=3,
        optimizer="AdamW",
        seed=row.seed,
        threads=2,
        budget_gib=BUDGET_GIB,
        train_args={"lr0": 0.001},
        overrides=(f"study.name={study}", *cell, *row.overrides),
    )


def _reports(row: Row) -> tuple[EpochReport, ...]:
    return tuple(
        EpochReport(i, 1000.0 + i, value, value * 0.6, 4.0 / i, 5.0 / i, 5.0, 0.001)
        for i, value in enumerate(row.map50, 1)
    )


def _memory(row: Row) -> MemoryReading | None:
    if row.peak_gib is None:
        return None
    fixed = {"weights": 0.22, "gradients": 0.22, "optimizer": 0.44, "ema": 0.22, "cache": 0.3}
    activations = row.peak_gib - 0.45 - sum(fixed.values())
    assert activations >= 0
    return MemoryReading(
        row.peak_gib,
        row.source,
        "trace",
        context_gib=0.45,
        parts={**fixed, "activations": activations},
    )


def _result(row: Row) -> TrialResult:
    assert row.outcome is not None
    return TrialResult(
        row.outcome,
        row.reason,
        **summarise_epochs(_reports(row)),
        wall_time_s=row.wall_time_s,
        images_per_s=30.0 if row.wall_time_s else None,
        memory=_memory(row),
        settings={"ultralytics": "8.4.190", "torch": "2.14.1"},
    )


StudyMaker = Callable[..., StudyRecord]
