"""What a trial is told: plain, JSON-able records."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sweeper.trial.alloc_conf import is_expandable
from sweeper.trial.levers import in_words, pulled
from sweeper.trial.readings import MemoryReading
from sweeper.trial.record import TrialResult

STRIDE_PX = 32  # of YOLO11: Ultralytics trains at a multiple of it
SINGLE = "single"  # in place of a study's name, for trials that are run one at a time

# Values of amp, in their order: off, fp16 (on a CPU bfloat16) and bf16; what tables call them, and
# what a label adds.
Amp = bool | Literal["bf16"]
AMPS: tuple[Amp, ...] = (False, True, "bf16")
AMP_WORDS: dict[Amp, str] = {False: "off", True: "on", "bf16": "bf16"}
AMP_SUFFIX: dict[Amp, str] = {False: "", True: " amp", "bf16": " bf16"}


def cell_label(batch: int, accumulate: int, amp: Amp, levers: str = "") -> str:
    """The name of a memory strategy as people say it: ``b4×a4 amp checkpoint=all``."""
    return f"b{batch}×a{accumulate}{AMP_SUFFIX[amp]}" + (f" {levers}" if levers else "")


_AMP_TYPED: dict[str, Amp] = {"fp16": True, "on": True, "yes": True, "off": False, "no": False}


def read_amp(value: object) -> Amp:
    """The amp that was typed; ``fp16`` is another word for ``true``.

    Raises:
        ValueError: It is none.
    """
    value = _AMP_TYPED.get(str(value).lower(), value)
    if value not in AMPS:
        words = ("false", "true", "fp16", "bf16")
        (near,) = difflib.get_close_matches(str(value).lower(), words, n=1) or ["true"]
        raise ValueError(f"amp must be false, true, fp16 or bf16 but got {value}. Try amp={near}.")
    return AMPS[AMPS.index(value)]  # 1 is True


def trained_px(imgsz: int) -> int:
    """The side at which images are trained: the next multiple of the stride."""
    return -(-imgsz // STRIDE_PX) * STRIDE_PX


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What tells a data set from others.

    Attributes:
        digest: Of its classes, the names and sizes of its images, and its labels.
        images: Images of the training split.
        boxes: Boxes in them.
        val_images: Images of the validation split.
        unlabelled: Images of both without a label file, which train and count as background.
        shared: Images of both, or copied from one to the other: trained on and validated.
    """

    digest: str
    images: int
    boxes: int
    val_images: int = 0
    unlabelled: int = 0
    shared: int = 0

    @property
    def size(self) -> tuple[int, int, int]:
        """How many images and boxes it holds."""
        return self.images, self.boxes, self.val_images

    def describe(self) -> str:
        """``60 training images with 145 boxes, 15 validation images``."""
        boxes = f"{self.images} training images with {self.boxes} boxes"
        return f"{boxes}, {self.val_images} validation images"


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """Everything a child process needs to train one cell.

    Attributes:
        study: Study name.
        number: Optuna trial number within the study.
        strategy: Name of the memory strategy, or the cell's label.
        batch: Images per forward/backward.
        accumulate: Micro-batches per optimizer step.
        amp: The autocast that is asked for: none, fp16 (True) or bf16.
        model: Model name for people, e.g. ``yolo11n``.
        model_file: What Ultralytics loads: a ``.yaml`` or ``.pt`` file or name.
        data: Dataset name for people.
        data_yaml: Path of the dataset's YAML.
        nc: Number of classes.
        boxes_per_image: Mean number of objects per training image, after mosaic.
        imgsz: Image side, pixels.
        epochs: Epochs of the whole run, whose schedule holds for every part of it.
        optimizer: Pinned optimizer name.
        seed: Seed of weights and data order.
        threads: CPU threads of the child.
        timeout_s: Wall-clock limit, seconds; 0 means none.
        stall_timeout_s: Longest silence of the child, seconds; 0 means any.
        limit_gib: The study's budget: the limit on peak device memory, GiB.
        context_gib: What the CUDA context is taken to be within the limit, GiB.
        predicted: Peak to expect; where there is no GPU it stands for the measurement.
        keep_weights: Keep ``best.pt`` and ``last.pt``.
        train_args: Further Ultralytics arguments by name.
        until: The epoch that this part of the run ends with; None is the last one.
        trained: Epochs of earlier parts, after which this one goes on from their checkpoint.
        spent_s: Wall time of earlier parts, seconds.
        held: What earlier parts took of the device's memory; None where there are none.
        overrides: The Hydra overrides that make this cell.
        confirms: Number of the trial that this one repeats with another seed.
        images: Images that the whole run draws; None in records from before it was counted.
        fullest_image: Boxes of the fullest of them; None as well.
        alloc_conf: What torch's allocator is told, as PYTORCH_ALLOC_CONF says it.
        runs_on: What all trials of the study run on: ``cpu`` or a GPU's name; empty in records
            from before it was pinned.
        checkpoint: Layers whose activations the backward computes again: ``none``, ``backbone`` or
            ``all``.
        val_batch: Largest number of images that are validated at once; None: twice the batch.
        freeze: Layers, from the first on, that are not trained.
        dataset: What tells the data set from others; None in records from before it was kept.
    """

    study: str
    number: int
    strategy: str
    batch: int
    accumulate: int
    amp: Amp
    model: str
    model_file: str
    data: str
    data_yaml: str
    nc: int
    boxes_per_image: float
    imgsz: int
    epochs: int
    optimizer: str
    seed: int
    limit_gib: float
    threads: int = 1
    timeout_s: float = 0.0
    stall_timeout_s: float = 0.0
    context_gib: float = 0.0
    predicted: MemoryReading | None = None
    keep_weights: bool = False
    train_args: dict[str, Any] = field(default_factory=dict)
    until: int | None = None
    trained: int = 0
    spent_s: float = 0.0
    held: MemoryReading | None = None
    overrides: tuple[str, ...] = ()
    confirms: int | None = None
    images: int | None = None
    fullest_image: int | None = None
    alloc_conf: str = ""
    checkpoint: str = "none"
    val_batch: int | None = None
    freeze: int = 0
    runs_on: str = ""
    dataset: DatasetFacts | None = None

    @property
    def effective_batch(self) -> int:
        """Images per optimizer step."""
        return self.batch * self.accumulate

    @property
    def label(self) -> str:
        """The cell as people say it."""
        return cell_label(self.batch, self.accumulate, self.amp, in_words(pulled(self)))

    @property
    def allocator(self) -> str:
        """The allocator as ``memory.allocator`` names it."""
        return "expandable" if is_expandable(self.alloc_conf) else "default"

    def going_on(self, result: TrialResult, until: int | None) -> TrialSpec:
        """The spec of the part that follows what the trial has come to so far."""
        return replace(
            self,
            until=until,
            trained=result.trained,
            spent_s=result.wall_time_s,
            held=result.memory,
        )

    def from_the_start(self) -> TrialSpec:
        """The spec of the same training without its earlier parts."""
        return replace(self, until=None, trained=0, spent_s=0.0, held=None)
