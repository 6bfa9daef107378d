"""The checks of a configuration that need no dataset."""

from __future__ import annotations

import math
import re
from operator import attrgetter

from sweeper.config.extra import check_extra
from sweeper.config.settings import MemorySettings, PlanSettings, Settings
from sweeper.errors import SettingsError
from sweeper.meant import meant
from sweeper.trial.levers import ALLOCATORS, CHECKPOINTS
from sweeper.trial.spec import SINGLE

OPTIMIZERS = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp", "MuSGD")
REPORT_FORMATS = ("markdown", "html")
EXPORTS = (
    *("torchscript", "onnx", "onnx_fp16", "openvino", "openvino_fp32", "openvino_fp16"),
    *("ncnn", "litert", "tensorrt"),
)
LR_SCALINGS = ("none", "sqrt", "linear")
RESERVED = ("data", "cache", "mlartifacts", SINGLE)
EXECUTORS = ("local", "debug", "slurm", "ray")
SAMPLERS = ("auto", "tpe", "random")
PLAN_FORMATS = ("table", "markdown", "json", "csv")


def validate(settings: Settings) -> None:
    """Raise a SettingsError that names the first key whose value cannot work."""
    _check_ranges(settings)
    _one_of("train.optimizer", settings.train.optimizer, OPTIMIZERS)
    _one_of("train.lr_scaling", settings.train.lr_scaling, LR_SCALINGS)
    if settings.train.lr_scaling != "none" and settings.train.optimizer == "MuSGD":
        raise SettingsError(
            f"train.lr_scaling={settings.train.lr_scaling} is not known to hold for "
            "train.optimizer=MuSGD. Set train.lr_scaling=none or another optimizer."
        )
    _one_of("memory.allocator", settings.memory.allocator, ALLOCATORS)
    _one_of("memory.checkpoint", settings.memory.checkpoint, CHECKPOINTS)
    _one_of("executor.name", settings.executor.name, EXECUTORS)
    _check_places(settings)
    _check_rungs(settings)
    _check_register(settings)
    _one_of("study.sampler", settings.study.sampler, SAMPLERS)
    if settings.study.share and settings.study.sampler != "auto":
        raise SettingsError(
            f"study.share=true cannot go with study.sampler={settings.study.sampler}, which may "
            "choose any cell. Set study.sampler=auto or leave study.share out."
        )
    _one_of("plan.format", settings.plan.format, PLAN_FORMATS)
    _check_plan(settings.plan, settings.memory)
    _one_of("report.format", settings.report.format, REPORT_FORMATS)
    if settings.train.rect and settings.accumulate > 1:
        raise SettingsError(
            f"train.rect=true cannot go with accumulate={settings.accumulate}: rectangular "
            "batches are sorted by shape, so an optimizer step would see one shape only. "
            "Set train.rect=false or accumulate=1."
        )
    if settings.model.name == "custom" and settings.model.file is None:
        raise SettingsError("model.file is not set. Give it: model=custom model.file=PATH.yaml.")
    slots = settings.executor.slots
    whole = isinstance(slots, int) and not isinstance(slots, bool)
    if slots != "auto" and (not whole or slots < 1):
        raise SettingsError(f"executor.slots must be auto or at least 1 but got {slots}.")
    if settings.executor.ray.gpus not in (0, 1):
        raise SettingsError(
            f"executor.ray.gpus must be 0 or 1 but got {settings.executor.ray.gpus:g}: a trial "
            "trains on one GPU, and two trials on one could not be measured apart."
        )
    for name in settings.deploy.formats:
        _one_of("deploy.formats", name, EXPORTS)
    check_extra(settings)
    _check_memory(settings)


def _check_ranges(settings: Settings) -> None:
    ranges = {key: (least, math.inf) for key, least in _AT_LEAST.items()} | _BETWEEN
    if settings.data.digits is not None:
        ranges |= _DIGITS
    for key, (least, most) in ranges.items():
        value = attrgetter(key)(settings)
        if value is None or least <= value <= most:
            continue
        if most < math.inf:
            raise SettingsError(f"{key} must lie between {least:g} and {most:g} but got {value}.")
        hint = (
            " There is no AutoBatch here: python -m sweeper.plan says which batches fit."
            if (key, value) == ("batch", -1)
            else ""
        )
        raise SettingsError(
            f"{key} must be at least {least} but got {value}. Set {key}={least} or more.{hint}"
        )


def _check_places(settings: Settings) -> None:
    """Names of folders and servers."""
    name, uri = settings.study.name, settings.tracking.uri
    if name is not None and (name in RESERVED or "/" in name or name.startswith(".") or not name):
        raise SettingsError(
            f"study.name must be a folder name other than {', '.join(RESERVED)}, and not begin "
            f"with a dot, but got {name or 'nothing'}."
        )
    if not settings.runs_dir.strip():
        raise SettingsError("runs_dir is empty. Set runs_dir=runs or another folder.")
    if uri not in (None, "databricks") and not re.match(r"[\w+-]+:", uri):
        raise SettingsError(
            f"tracking.uri must be a URI, e.g. http://127.0.0.1:5000 or sqlite:///runs/mlflow.db, "
            f"but got {uri}."
        )


def _check_plan(plan: PlanSettings, memory: MemorySettings) -> None:
    if plan.export is not None and not plan.verify:
        raise SettingsError(
            f"plan.export={plan.export} writes what plan.verify=true measures. Set both, or "
            "plan.output for the plan itself."
        )
    if plan.ladder and (plan.verify or plan.plot):
        raise SettingsError(
            "plan.ladder=true only lists what fits: it is neither drawn nor verified. Leave out "
            "plan.plot and plan.verify, or verify one of its rungs without plan.ladder."
        )
    if plan.verify and plan.format == "csv":
        raise SettingsError(
            "plan.format=csv has one row for each predicted cell and no place for what "
            "plan.verify=true measures. Set plan.format=json, or plan.export=readings.csv besides."
        )
    if plan.export and memory != MemorySettings():
        raise SettingsError(
            f"plan.export={plan.export} has no column for the keys under memory, so its readings "
            "would pass for plain ones. Leave them out."
        )


def _check_memory(settings: Settings) -> None:
    """What does not go together with the keys under memory."""
    memory, extra = settings.memory, settings.train.extra
    if memory.freeze and "freeze" in extra:
        raise SettingsError(
            f"train.extra.freeze={extra['freeze']} cannot go with memory.freeze={memory.freeze}. "
            "Leave one of them out; only memory.freeze is predicted."
        )
    if memory.checkpoint != "none" and extra.get("distill_model"):
        raise SettingsError(
            f"train.extra.distill_model={extra['distill_model']} cannot go with "
            f"memory.checkpoint={memory.checkpoint}. Leave one of them out."
        )


def _check_rungs(settings: Settings) -> None:
    rungs, epochs = settings.study.rungs or [], settings.train.epochs
    if sorted(set(rungs)) != rungs or any(not 0 < rung < epochs for rung in rungs):
        early = f"e.g. study.rungs=[{max(1, epochs // 5)}], or []"
        raise SettingsError(
            f"study.rungs must rise from 1 to less than train.epochs={epochs} but got {rungs}. "
            f"Set {early if epochs > 1 else 'study.rungs=[]'} to train each trial to its end."
        )


def _check_register(settings: Settings) -> None:
    study, name = settings.study, settings.study.register
    if name is None:
        return
    if not name.strip() or re.search(r"[/:'\"%]", name):
        raise SettingsError(
            f"study.register must be a model's name without / : ' \" or % but got "
            f"{name or 'nothing'}. Set e.g. study.register=detector."
        )
    if not study.keep_best and not study.finish:
        raise SettingsError(
            f"study.register={name} needs the winner's weights, which are not kept. Add "
            "study.finish=true, which trains the winner to its end, or study.keep_best=true."
        )


SEEDS = 2**31 - 1  # with room for those that confirm: NumPy takes 32 bits
LARGEST_IMAGE = 16384
_BETWEEN: dict[str, tuple[float, float]] = {
    "seed": (0, SEEDS),
    "data.imgsz": (32, LARGEST_IMAGE),
    "train.imgsz": (32, LARGEST_IMAGE),
    "train.lr0": (0, 1),
    "train.lrf": (0, 1),
    "train.momentum": (0, 0.9999),  # Adam's takes no 1
    "train.weight_decay": (0, 1),
    "train.warmup_epochs": (0, 10_000),
    "train.warmup_bias_lr": (0, 1),
    "train.workers": (0, 256),
    "deploy.min_map": (0, 1),
    "deploy.max_map_drop": (0, 1),
}
_DIGITS: dict[str, tuple[float, float]] = {
    "data.digits.train": (1, 100_000),
    "data.digits.val": (1, 100_000),
    "data.digits.seed": (0, SEEDS),
}
_AT_LEAST: dict[str, float] = {
    "batch": 1,
    "accumulate": 1,
    "data.nc": 1,
    "memory.val_batch": 1,
    "memory.freeze": 0,
    "train.epochs": 1,
    "train.close_mosaic": 0,
    "train.patience": 0,
    "train.save_period": -1,
    "train.lr0_batch": 1,
    "executor.ray.cpus": 1,
    "study.n_trials": 1,
    "study.effective_batch": 1,
    "study.trial_timeout_s": 0,
    "study.stall_timeout_s": 0,
    "study.confirm.top": 0,
    "study.confirm.seeds": 1,
    "plan.effective_batch": 1,
    "plan.boxes_per_image": 0,
    "deploy.epochs": 1,
    "deploy.imgsz": 32,
    "deploy.batch": 2,
    "deploy.opset": 9,
    "deploy.runs": 1,
    "deploy.warmup": 0,
    "deploy.threads": 1,
    "deploy.timeout_s": 1,
}


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        said = f"{key} must be one of {', '.join(allowed)} but got {value}."
        raise SettingsError(f"{said}{meant(value, allowed)}")
