"""The typed schema of conf/; Hydra's structured configs cannot be frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from sweeper.trial.levers import in_words, pulled
from sweeper.trial.rungs import default_rungs
from sweeper.trial.spec import cell_label

# Beginnings of the keys that say how a study is run or shown, not what its trials are.
STUDY_WIDE = (
    *("study.", "executor.", "tracking.", "plan.", "report.", "deploy", "doctor"),
    *("studies.", "runs_dir", "hydra"),
)


def of_the_trial(overrides: Iterable[str]) -> tuple[str, ...]:
    """The overrides that say what a trial is."""
    return tuple(o for o in overrides if not o.startswith(STUDY_WIDE))


# How the learning rate of a mean gradient follows the effective batch. Ultralytics sums gradients
# over it: with SGD a constant lr0 is the linear rule already, Adam's kin do not feel the sum.
_LR_POWER = {"sqrt": 0.5, "linear": 1.0}


GENERIC = {"data", "dataset"}  # names of files that say nothing


@dataclass
class DigitsSettings:
    """Size of the embedded dataset."""

    train: int = 144
    val: int = 48
    seed: int = 0


@dataclass
class DataSettings:
    """Group ``data``."""

    name: str = MISSING
    yaml: str | None = None
    imgsz: int = 640
    nc: int | None = None
    digits: DigitsSettings | None = None
    augment: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name in records: a data set of one's own goes by its file, or by its folder."""
        if self.name != "custom" or self.yaml is None:
            return self.name
        path = Path(self.yaml).expanduser().resolve()
        return path.parent.name if path.stem in GENERIC else path.stem


@dataclass
class ModelSettings:
    """Group ``model``."""

    name: str = MISSING
    pretrained: bool = False
    file: str | None = None

    @property
    def title(self) -> str:
        """The name in records: a model of one's own goes by its file."""
        return Path(self.file).stem if self.name == "custom" and self.file else self.name

    @property
    def source(self) -> str:
        """What Ultralytics loads: the given file, or ``.pt``/``.yaml`` of the name."""
        return self.file or f"{self.name}{'.pt' if self.pretrained else '.yaml'}"


@dataclass
class TrainSettings:
    """Group ``train``: Ultralytics arguments under their own names."""

    epochs: int = MISSING
    imgsz: int = MISSING
    optimizer: str = MISSING
    lr0: float = MISSING
    lr_scaling: str = "none"
    lr0_batch: int = 64
    lrf: float = 0.01
    momentum: float = 0.937
    weight_decay: float = 0.0005
    warmup_epochs: float = 3.0
    warmup_bias_lr: float = 0.1
    close_mosaic: int = 10
    patience: int = 100
    save_period: int = -1
    rect: bool = False
    workers: int = 8
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class MemorySettings:
    """Keys under ``memory.``; the group's choices are strategies over batch, accumulate, amp.

    Attributes:
        allocator: ``default``, as the environment configures torch's, or ``expandable`` segments.
        checkpoint: Layers whose activations the backward computes again: ``none``, ``backbone``
            or ``all``.
        val_batch: Largest number of images that are validated at once; null: twice the batch.
        freeze: Layers, from the first on, that are not trained.
    """

    allocator: str = "default"
    checkpoint: str = "none"
    val_batch: int | None = None
    freeze: int = 0


@dataclass
class VramSettings:
    """Group ``vram``, one file per card; GiB, None is to be found out.

    Attributes:
        card: The file's name, or ``auto``.
        total_gib: Memory as nvidia-smi reports it.
        context_gib: Assumed CUDA context.
        margin_gib: What driver and display take of the total.
        budget_gib: Explicit limit, which wins over everything else.
        emulated: Run on emulated cards of this kind, whatever the machine has.
        source: Where the total comes from.
        fallback_card: For ``auto``: the card to simulate where there is no GPU.
    """

    card: str = "auto"
    total_gib: float | None = None
    context_gib: float | None = None
    margin_gib: float | None = None
    budget_gib: float | None = None
    emulated: bool = False
    source: str = ""
    fallback_card: str = ""


@dataclass
class ConfirmSettings:
    """Repeat the best cells with other seeds."""

    top: int = 0
    seeds: int = 3


@dataclass
class StudySettings:
    """Group ``study``."""

    name: str | None = None
    n_trials: int | None = None
    seed: int = 0
    storage: str | None = None
    sampler: str = "auto"
    rungs: list[int] | None = None
    share: bool | None = None
    finish: bool = False
    resume: bool = True
    join: bool = False
    confirm: ConfirmSettings = field(default_factory=ConfirmSettings)
    effective_batch: int | None = None
    trial_timeout_s: float = 0.0
    stall_timeout_s: float = 1800.0
    keep_best: bool = False
    register: str | None = None


@dataclass
class SlurmSettings:
    """What each job asks Slurm for, by the names of ``sbatch``; null leaves it out.

    Attributes:
        partition: Partition.
        gres: Generic resources, e.g. ``gpu:1``.
        time: Time limit, minutes.
        constraint: Features of the node.
        cpus: Cores (``--cpus-per-task``).
        mem: Host memory, e.g. ``16G``.
        grace_s: How long before the time limit, or after pre-emption, a job is told to stop.
        extra: Further options of ``sbatch``, e.g. ``{account: vision}``.
    """

    partition: str | None = None
    gres: str | None = None
    time: int = 240
    constraint: str | None = None
    cpus: int | None = None
    mem: str | None = None
    grace_s: int = 60
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class RaySettings:
    """Where Ray runs, and what each trial asks it for.

    Attributes:
        address: Of the cluster, as ``ray.init`` takes it.
        gpus: GPUs of one trial: 1, or 0 to train on the CPU.
        cpus: Cores of one trial.
        accelerator: The kind of GPU in a cluster that has several, by Ray's name, e.g. ``A100``.
    """

    address: str = "auto"
    gpus: float = 1.0
    cpus: int = 2
    accelerator: str | None = None


@dataclass
class ExecutorSettings:
    """Group ``executor``."""

    name: str = "local"
    slots: Any = "auto"
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    ray: RaySettings = field(default_factory=RaySettings)

    @property
    def is_here(self) -> bool:
        """Whether trials run on this machine, and not where a scheduler puts them."""
        return self.name in {"local", "debug"}


@dataclass
class TrackingSettings:
    """Group ``tracking``."""

    uri: str | None = None
    experiment: str = "sweeper"


@dataclass
class PlanSettings:
    """Group ``plan``: only ``python -m sweeper.plan`` reads it."""

    format: str = "table"
    output: str | None = None
    plot: str | None = None
    effective_batch: int | None = None
    boxes_per_image: float | None = None
    ladder: bool = False
    verify: bool = False
    export: str | None = None


@dataclass
class ReportSettings:
    """Group ``report``.

    Attributes:
        format: ``markdown``, or ``html`` as well.
        article: Set the claims of the article beside the study and its deployment, whatever its
            experiment.
    """

    format: str = "markdown"
    article: bool = False


@dataclass
class StudiesSettings:
    """Group ``studies``: only ``python -m sweeper.studies`` reads it."""

    remove: bool = False


@dataclass
class DeploySettings:
    """Group ``deploy``."""

    weights: str | None = None
    formats: list[str] = field(default_factory=list)
    epochs: int | None = None
    imgsz: int | None = None
    batch: int = 8
    dynamic: bool = True
    opset: int | None = None
    runs: int = 60
    warmup: int = 3
    threads: int | None = None
    timeout_s: float = 600.0
    min_map: float = 0.01
    max_map_drop: float = 0.01


@dataclass
class Settings:
    """One composed configuration."""

    batch: int = MISSING
    accumulate: int = MISSING
    amp: Any = MISSING  # of `sweeper.trial.spec.AMPS`, or fp16 as typed
    seed: int = 0
    runs_dir: str = "runs"
    doctor: bool = True
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    vram: VramSettings = field(default_factory=VramSettings)
    study: StudySettings = field(default_factory=StudySettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    studies: StudiesSettings = field(default_factory=StudiesSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)

    @property
    def effective_batch(self) -> int:
        """Images per optimizer step."""
        return self.batch * self.accumulate

    @property
    def label(self) -> str:
        """The cell as people say it."""
        return cell_label(self.batch, self.accumulate, self.amp, in_words(pulled(self.memory)))

    @property
    def lr0(self) -> float:
        """Initial learning rate of this cell: train.lr0 scaled to its effective batch.

        AdamW: Malladi et al. 2022, arXiv 2205.10287, find the square root.
        """
        train = self.train
        if train.lr_scaling == "none":
            return train.lr0
        power = _LR_POWER[train.lr_scaling] - (train.optimizer == "SGD")
        scaled = train.lr0 * (self.effective_batch / train.lr0_batch) ** power
        return float(f"{scaled:.4g}")  # short enough to be typed

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which a study judges its trials; none where each trains to its end."""
        given = self.study.rungs
        return default_rungs(self.train.epochs) if given is None else tuple(given)

    @property
    def keeps_weights(self) -> bool:
        """Whether every trial keeps its weights: asked for, or any may be the one to finish."""
        return self.study.keep_best or (self.study.finish and not self.rungs)

    @property
    def elsewhere(self) -> list[str]:
        """The override by which other commands find these runs; none where they are by default."""
        return [f"runs_dir={self.runs_dir}"] * (self.runs_dir != Settings.runs_dir)

    @property
    def storage_url(self) -> str:
        """Where Optuna keeps the study."""
        return self.study.storage or f"sqlite:///{self.runs_dir}/optuna.db"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps the runs."""
        return self.tracking.uri or f"sqlite:///{self.runs_dir}/mlflow.db"

    def train_args(self) -> dict[str, Any]:
        """Ultralytics arguments beyond those a TrialSpec names itself."""
        named = {"epochs", "imgsz", "optimizer", "lr_scaling", "lr0_batch", "extra"}
        own = {k: v for k, v in vars(self.train).items() if k not in named}
        return {**own, "lr0": self.lr0, **self.data.augment, **self.train.extra}
