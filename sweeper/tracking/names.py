"""Every name that sweeper writes to MLflow, and where its value comes from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from sweeper.tracking.reader import CURVE
from sweeper.trial.command import whole_training
from sweeper.trial.levers import LEVERS
from sweeper.trial.readings import EpochReport, SystemSample
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import StudyRecord

PARAMS: dict[str, Callable[[TrialSpec], Any]] = {
    "strategy": lambda s: s.strategy,
    "batch": lambda s: s.batch,
    "accumulate": lambda s: s.accumulate,
    "effective_batch": lambda s: s.effective_batch,
    "amp": lambda s: s.amp,
    "model": lambda s: s.model,
    "model_file": lambda s: s.model_file,
    "data": lambda s: s.data,
    "imgsz": lambda s: s.imgsz,
    "epochs": lambda s: s.epochs,
    "optimizer": lambda s: s.optimizer,
    "lr0": lambda s: s.train_args.get("lr0"),
    **{name: attrgetter(name) for name in LEVERS},
    "seed": lambda s: s.seed,
    "budget_gib": lambda s: s.limit_gib,
}
# Of the effective settings, what trains no detection model: other tasks and modes, what is shown,
# written and where. `pretrained` does nothing: a model_file that ends with .pt is.
# fmt: off
UNUSED = frozenset({
    "task", "mode", "save", "save_dir", "device", "exist_ok", "verbose", "resume", "profile",
    "cfg", "tracker", "pretrained", "overlap_mask", "mask_ratio", "dropout", "auto_augment",
    "erasing", "pose", "kobj", "rle", "angle", "dlog", "dgrad", "dlam", "split", "save_json",
    "conf", "quantize", "dnn", "plots", "source", "vid_stride", "stream_buffer", "nms",
    "visualize", "augment", "agnostic_nms", "retina_masks", "show", "save_frames", "save_txt",
    "save_conf", "save_crop", "show_labels", "show_conf", "show_boxes", "line_width", "format",
    "keras", "optimize", "half", "int8", "dynamic", "simplify", "opset", "workspace",
})
# fmt: on
METRICS: dict[str, Callable[[TrialResult], float | None]] = {
    "map50": lambda r: r.map50,
    "map50_95": lambda r: r.map50_95,
    "peak_gib": lambda r: r.memory.peak_gib if r.memory else None,
    "headroom_gib": lambda r: (
        None if r.excess_gib is None or r.outcome.infeasible else -r.excess_gib
    ),
    "trained_epochs": lambda r: r.trained or None,
    "epoch_s": lambda r: r.epoch_s,
    "wall_time_s": lambda r: r.wall_time_s,
    "train_time_s": lambda r: r.train_time_s,
    "images_per_s": lambda r: r.images_per_s,
    "optimizer_steps": lambda r: r.optimizer_steps,
    "iterations": lambda r: r.iterations,
    "best_epoch": lambda r: r.best_epoch,
    "peak_rss_gib": lambda r: r.peak_rss_gib,
    "cpu_wait": lambda r: r.cpu_wait,
    "context_gib": lambda r: r.memory.context_gib if r.memory else None,
    "alloc_retries": lambda r: r.memory.alloc_retries if r.memory else None,
}
SYSTEM_METRIC = "system/{}"  # as MLflow's own monitor calls them
PART_METRIC = "part_{}_gib"  # one per part of MemoryReading.parts that is not 0
EPOCH_METRICS: dict[str, Callable[[EpochReport], float]] = {
    CURVE.format("map50"): lambda e: e.map50,
    CURVE.format("map50_95"): lambda e: e.map50_95,
    CURVE.format("train_loss"): lambda e: e.train_loss,
    CURVE.format("val_loss"): lambda e: e.val_loss,
    CURVE.format("learning_rate"): lambda e: e.learning_rate,
    CURVE.format("train_time_s"): lambda e: e.train_time_s,
}
VERSIONS = ("ultralytics", "torch", "python")  # of what the child really ran
# An empty one is not written: 10,000 trials are read in seconds only if they are lean.
TRIAL_TAGS: dict[str, Callable[[TrialResult], str]] = {
    "outcome": lambda r: r.outcome.value,
    "reason": lambda r: r.reason,
    "vram_source": lambda r: r.memory.source if r.memory else "none",
    "memory_method": lambda r: r.memory.method if r.memory else "",
    "memory_note": lambda r: r.memory.note if r.memory else "",
    "alloc_conf": lambda r: r.memory.alloc_conf if r.memory else "",
    "amp_dtype": lambda r: r.amp_dtype or "",
    "device": lambda r: r.device,
    "host": lambda r: r.host,
    "implied_by": lambda r: "" if r.implied_by is None else str(r.implied_by),
    "versions": lambda r: " ".join(f"{k} {r.settings[k]}" for k in VERSIONS if k in r.settings),
}
SPEC_TAGS: dict[str, Callable[[TrialSpec], str]] = {
    "study": lambda s: s.study,
    "trial": lambda s: str(s.number),
    "overrides": lambda s: shlex.join(s.overrides),
    "yolo_command": whole_training,
    "confirms": lambda s: "" if s.confirms is None else str(s.confirms),
}
# Of a study's parent run: what was asked, and how and where it ran. None is not written.
STUDY_PARAMS: dict[str, Callable[[StudyRecord], str | None]] = {
    "space": lambda s: s.space,
    "fixed": lambda s: s.fixed,
    "budget_gib": lambda s: f"{s.limit_gib:g}",
    "budget_source": lambda s: s.budget_source,
}
STUDY_TAGS: dict[str, Callable[[StudyRecord], str | None]] = {
    "command": lambda s: s.command,
    "n_trials": lambda s: None if s.n_trials is None else str(s.n_trials),
    "machine": lambda s: s.machine,
    "versions": lambda s: s.versions,
    "git_commit": lambda s: s.git_commit,
}

_STATUS = {
    Outcome.COMPLETE: RunStatus.FINISHED,
    Outcome.PRUNED: RunStatus.KILLED,
    Outcome.INTERRUPTED: RunStatus.KILLED,
    Outcome.COVERED: RunStatus.KILLED,
}


def status_of(outcome: Outcome) -> str:
    """MLflow's word: finished, killed before its end on purpose, or failed."""
    return str(RunStatus.to_string(_STATUS.get(outcome, RunStatus.FAILED)))


def params_of(spec: TrialSpec) -> dict[str, str]:
    """What the trial is told."""
    return {k: str(get(spec)) for k, get in PARAMS.items()}


def effective_params(result: TrialResult) -> dict[str, str]:
    """What the training really used, under Ultralytics' names, beyond what the trial was told."""
    told = {*PARAMS, *VERSIONS}
    return {k: str(v) for k, v in result.settings.items() if k not in told | UNUSED}


def dataset_of(spec: TrialSpec) -> list[DatasetInput]:
    """The data set of a training as MLflow knows one; none in records from before it was read."""
    if spec.dataset is None:
        return []
    counts = {"num_rows": spec.dataset.images, "boxes": spec.dataset.boxes, "classes": spec.nc}
    source = json.dumps({"uri": spec.data_yaml})
    dataset = Dataset(spec.data, spec.dataset.digest, "local", source, profile=json.dumps(counts))
    return [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])]


def sample_points(sample: SystemSample) -> list[Metric]:
    """One point of each curve of the machine."""
    millis = int(sample.time * 1000)
    names = {SYSTEM_METRIC.format(k): v for k, v in sample.values.items()}
    return [Metric(k, v, millis, sample.step) for k, v in names.items()]


def epoch_points(report: EpochReport) -> list[Metric]:
    """One point of each curve of the epochs."""
    millis = int(report.time * 1000)
    points = {k: get(report) for k, get in EPOCH_METRICS.items()}
    return [Metric(k, v, millis, report.epoch) for k, v in points.items()]
