"""Studies with fixed values, written to trial folders and MLflow as a real study does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from sweeper.tracking import Tracker
from sweeper.tracking.outbox import Outbox
from sweeper.trial.readings import EpochReport, MemoryReading
from sweeper.trial.record import Outcome, TrialResult, summarise_epochs
from sweeper.trial.repeats import repeat_number
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import RecordedStudy, RecordedTrial, StudyRecord, StudyStatus

BUDGET_GIB = 23.65
EXPERIMENT = "sweeper"


def study_record(name: str, **changes: object) -> StudyRecord:
    """What the study was asked, with changes."""
    record = StudyRecord(
        name,
        BUDGET_GIB,
        "card rtx3090 (vram=rtx3090)",
        space="memory=baseline,small_batch,accumulate,amp,accumulate_amp (5 cells)",
        fixed=f"experiment=article study.name={name}",
        command=("python -m sweeper -m memory=baseline,small_batch,accumulate study.name=article"),
        n_trials=7,
        machine="no GPU; A Processor, 2 cores, 8 GiB RAM; Linux 6.1",
        versions="ultralytics 8.4.190 · torch 2.14.1",
        git_commit="0123456789ab",
        experiment=EXPERIMENT,
        started=1_700_000_000.0,
        last_started=1_700_000_000.0,
        id="synthetic",
    )
    return replace(record, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """One trial of a synthetic study; ``map50`` is that of each epoch.

    One that is not ``whole`` has come to a rung of a run of so many ``epochs``; one that is
    ``finished`` was continued from a rung.
    """

    batch: int
    accumulate: int
    amp: bool | str
    outcome: Outcome | None = Outcome.COMPLETE
    peak_gib: float | None = None
    map50: Sequence[float] = ()
    wall_time_s: float = 0.0
    strategy: str = ""
    reason: str = ""
    seed: int = 0
    source: str = "simulated"
    implied_by: int | None = None
    confirms: int | None = None
    overrides: tuple[str, ...] = ()
    epochs: int = 3
    epoch_s: float | None = None
    whole: bool = True
    finished: bool = False
    checkpoint: str = "none"
    classes: dict[str, float] = field(default_factory=dict)


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
    Row(4, 4, True, Outcome.COMPLETE, 9.7, (0.09, 0.30, 0.419), 11400.0, "accumulate_amp",
        classes={"person": 0.61, "kite": 0.23, "dog": 0.417}),
    Row(32, 1, False, Outcome.IMPLIED, 57.1, reason="b16×a1 does not fit either",
        implied_by=0),
)  # fmt: skip


def write_study(
    runs: Path,
    rows: Sequence[Row],
    name: str = "article",
    done: bool | None = True,
    **changes: object,
) -> str:
    """Write the study to both places and return its tracking URI; ``done=None``: still running.

    Args:
        runs: Where its folder and ``mlflow.db`` are.
        rows: Its trials.
        name: Its name.
        done: Whether it ran to its end.
        changes: What its record has otherwise.
    """
    runs.mkdir(parents=True, exist_ok=True)
    database = runs / "mlflow.db"
    if not database.exists():
        database.write_bytes(_empty_database())
    uri = f"sqlite:///{database}"
    folder = StudyFolder(runs / name)
    record = folder.write_start(study_record(name, tracking_uri=uri, **changes))
    tracker = Tracker(uri, EXPERIMENT, runs / "mlartifacts")
    tracker.start_study(record, "")
    outbox = Outbox(lambda: tracker, folder.trials, print)
    for spec, row in zip(_specs(name, rows), rows, strict=True):
        trial = folder.trial(spec.number)
        trial.prepare(spec)
        outbox.start(spec, trial)
        for report in _reports(row):
            outbox.epoch(trial, report)
        if row.outcome is not None:
            trial.write_result(result := _result(row))
            outbox.finish(spec, result, trial)
    if done is not None:
        outbox.finish_study(done)
        folder.write_end(StudyStatus.FINISHED if done else StudyStatus.KILLED)
    outbox.drain()
    return uri


@cache
def _empty_database() -> bytes:
    """MLflow's tables, which take it seconds to create."""
    with tempfile.TemporaryDirectory() as folder:
        Tracker(f"sqlite:///{folder}/mlflow.db", "Default", Path(folder))
        return (Path(folder) / "mlflow.db").read_bytes()


def recorded(rows: Sequence[Row], name: str = "article") -> RecordedStudy:
    """The finished study as it is read back."""
    trials = [
        RecordedTrial(spec, None if row.outcome is None else _result(row))
        for spec, row in zip(_specs(name, rows), rows, strict=True)
    ]
    return RecordedStudy(study_record(name, status=StudyStatus.FINISHED), tuple(trials))


def _specs(study: str, rows: Sequence[Row]) -> list[TrialSpec]:
    """Repetitions are numbered as a study does it, by their seeds."""
    numbers = (
        n if row.confirms is None else repeat_number(row.confirms, row.seed)
        for n, row in enumerate(rows)
    )
    return [_spec(study, n, row) for n, row in zip(numbers, rows, strict=True)]


def _spec(study: str, number: int, row: Row) -> TrialSpec:
    cell = (f"batch={row.batch}", f"accumulate={row.accumulate}", f"amp={str(row.amp).lower()}")
    spec = TrialSpec(
        study=study,
        number=number,
        strategy=row.strategy,
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
        epochs=row.epochs,
        optimizer="AdamW",
        seed=row.seed,
        threads=2,
        limit_gib=BUDGET_GIB,
        train_args={"lr0": 0.001},
        overrides=(f"study.name={study}", *cell, *row.overrides),
        confirms=row.confirms,
        trained=6 if row.finished else 0,
        checkpoint=row.checkpoint,
    )
    return replace(spec, strategy=spec.strategy or spec.label)


def _reports(row: Row) -> tuple[EpochReport, ...]:
    epoch_s = row.epoch_s or row.wall_time_s / max(len(row.map50), 1)
    return tuple(
        EpochReport(
            *(i, 1000.0 + i * epoch_s, value, value * 0.6, 4.0 / i, 5.0 / i, 5.0, 0.001, epoch_s)
        )
        for i, value in enumerate(row.map50, 1)
    )


def _memory(row: Row) -> MemoryReading | None:
    if row.peak_gib is None:
        return None
    fixed = {"weights": 0.22, "gradients": 0.22, "optimizer": 0.44, "ema": 0.22, "cache": 0.3}
    activations = max(0.0, row.peak_gib - 0.45 - sum(fixed.values()))
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
        paused=not row.whole,
        **summarise_epochs(_reports(row)),
        wall_time_s=row.wall_time_s,
        images_per_s=30.0 if row.wall_time_s else None,
        memory=_memory(row),
        settings={"ultralytics": "8.4.190", "torch": "2.14.1"},
        implied_by=row.implied_by,
        class_map50=row.classes,
    )
