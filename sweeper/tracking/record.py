"""A study and its trials as MLflow holds them."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

RUNNING = "running"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as MLflow holds it, under the names that `sweeper.tracking.writer` lists.

    Numbers are None where the run has none, or has NaN.
    """

    run_id: str
    number: int
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def outcome(self) -> str:
        """An `Outcome` value, or ``running``."""
        return self.tags.get("outcome", RUNNING)

    @property
    def reason(self) -> str:
        """Why it ended so; empty when complete."""
        return self.tags.get("reason", "")

    @property
    def label(self) -> str:
        """The cell as people say it."""
        return self.tags[MLFLOW_RUN_NAME]

    @property
    def strategy(self) -> str:
        """The memory strategy's name, or the cell's label."""
        return self.params.get("strategy", self.label)

    @property
    def batch(self) -> int:
        """Images per forward/backward."""
        return int(self.params["batch"])

    @property
    def accumulate(self) -> int:
        """Micro-batches per optimizer step."""
        return int(self.params["accumulate"])

    @property
    def amp(self) -> bool:
        """Whether autocast was asked for."""
        return self.params["amp"] == "True"

    @property
    def seed(self) -> int:
        """Seed of weights and data order."""
        return int(self.params.get("seed", "0"))

    @property
    def epochs(self) -> int | None:
        """Epochs that were asked for."""
        return int(self.params["epochs"]) if "epochs" in self.params else None

    @property
    def map50(self) -> float | None:
        """mAP at IoU 0.5, 0 to 1."""
        return self.metric("map50")

    @property
    def peak_gib(self) -> float | None:
        """Peak device memory."""
        return self.metric("peak_gib")

    @property
    def wall_time_s(self) -> float | None:
        """Process start to end."""
        return self.metric("wall_time_s")

    @property
    def vram_source(self) -> str | None:
        """``measured``, ``simulated``, or None when no peak is known."""
        source = self.tags.get("vram_source", "none")
        return None if source == "none" else source

    @property
    def implied_by(self) -> int | None:
        """Number of the trial that is the evidence for an outcome without a run."""
        return _number(self.tags.get("implied_by"))

    @property
    def confirms(self) -> int | None:
        """Number of the trial that this one repeats with another seed."""
        return _number(self.tags.get("confirms"))

    @property
    def overrides(self) -> tuple[str, ...]:
        """The Hydra overrides that make the cell."""
        text = self.tags.get("overrides", "")
        return tuple(shlex.split(text) if "'" in text else text.split())  # shlex is slow

    @property
    def parts(self) -> dict[str, float]:
        """The peak broken down, GiB by part, the context included."""
        parts = {
            k.removeprefix("part_").removesuffix("_gib"): v
            for k, v in self.metrics.items()
            if k.startswith("part_")
        }
        context = self.metric("context_gib")
        return {**parts, "context": context} if parts and context is not None else parts

    def metric(self, name: str) -> float | None:
        """The last value of a metric."""
        value = self.metrics.get(name)
        return None if value is None or math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study as MLflow holds it.

    Attributes:
        run_id: Its parent run.
        name: Study name.
        params: Parameters of the parent run.
        trials: In order of their numbers.
        tags: Tags of the parent run.
        status: MLflow's status of the parent run.
        started: When it was first started, Unix seconds.
        unreadable: Runs that lack what makes them a trial.
    """

    run_id: str
    name: str
    params: dict[str, str]
    trials: tuple[TrialRecord, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "FINISHED"
    started: float = 0.0
    unreadable: tuple[str, ...] = ()


def _number(text: str | None) -> int | None:
    return int(text) if text else None
