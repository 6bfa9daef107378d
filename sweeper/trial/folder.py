"""A trial's folder: which files it has, who writes them, and how far the trial is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.trial.json_text import Record, from_json, to_json, write_json
from sweeper.trial.readings import SystemSample
from sweeper.trial.record import ChildFacts, TrialFacts, TrialResult
from sweeper.trial.spec import TrialSpec


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for other processes that do the same there."""
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # no locks there: a driver that is alone needs none
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The files of one trial; every record is written whole or not at all.

    The study writes ``spec.json``, ``part.json`` and ``result.json``, the training ``child.json``
    and everything else. MLflow's two marks say how far the trial is there. Where a job runs the
    trial, it writes ``events.jsonl`` and ``facts.json``, and ends when it finds ``stop``.
    """

    path: Path

    @classmethod
    def of(cls, trials: Path, number: int) -> TrialFolder:
        """The folder of a trial number."""
        return cls(trials / f"{number:04d}")

    @classmethod
    def all_of(cls, trials: Path) -> Iterator[TrialFolder]:
        """Every folder that has a spec, in the order of the numbers."""
        found = (p.parent for p in trials.glob("*/spec.json") if p.parent.name.isdigit())
        return (cls(path) for path in sorted(found, key=lambda p: int(p.name)))

    @classmethod
    def claim_next(cls, trials: Path) -> TrialFolder:
        """Create the folder of the first number above all that are there."""
        trials.mkdir(parents=True, exist_ok=True)
        taken = [int(p.name) for p in trials.iterdir() if p.name.isdigit()]
        folder = cls.of(trials, max(taken, default=-1) + 1)
        folder.path.mkdir()
        return folder

    @property
    def number(self) -> int:
        """The trial's number."""
        return int(self.path.name)

    @property
    def log(self) -> Path:
        """All that the training printed."""
        return self.path / "log.txt"

    @property
    def best_weights(self) -> Path:
        """The weights of the best epoch, where they are kept."""
        return self.path / "weights" / "best.pt"

    def checkpoint(self, epochs: int) -> Path:
        """The state after so many epochs, for the next part to go on from."""
        return self.path / "checkpoints" / f"{epochs:04d}.pt"

    def newest_checkpoint(self) -> int:
        """After how many epochs the newest one was written; 0 where there is none."""
        found = (self.path / "checkpoints").glob("*.pt")
        return max((int(file.stem) for file in found), default=0)

    def drop_checkpoints(self, keep: int = 0) -> None:
        """Delete the checkpoints, except the one after ``keep`` epochs."""
        for file in (self.path / "checkpoints").glob("*"):
            if file != self.checkpoint(keep):
                file.unlink()

    @property
    def run_id(self) -> Path:
        """Holds the id of the trial's MLflow run; empty while that is being made."""
        return self.path / "mlflow_run_id"

    def read_run_id(self) -> str | None:
        """The id of the trial's MLflow run; empty where one may have been made, None before."""
        try:
            return self.run_id.read_text()
        except FileNotFoundError:
            return None

    @contextmanager
    def making_run(self) -> Iterator[None]:
        """Keep other drivers of the study from making the trial's run at the same moment."""
        with one_at_a_time(self.path):
            yield

    @property
    def logged(self) -> Path:
        """Exists once MLflow has the finished trial whole."""
        return self.path / "mlflow_logged"

    @property
    def artifacts(self) -> list[Path]:
        """The files that are kept with the trial's run."""
        names = ("spec.json", "result.json", "log.txt", "args.yaml", "results.csv")
        files = (self.path / name for name in (*names, "train_batch0.jpg"))
        return [file for file in files if file.exists()]

    @property
    def exists(self) -> bool:
        """Whether a trial was prepared here."""
        return self._spec.exists()

    @property
    def has_result(self) -> bool:
        """Whether the trial was judged, interrupted or not."""
        return self._result.exists()

    @property
    def judged_at(self) -> float:
        """When the result was written, Unix seconds."""
        return self._result.stat().st_mtime

    def prepare(self, spec: TrialSpec) -> None:
        """Write the spec of a trial that is about to run; what an earlier attempt left goes.

        A trial that goes on keeps what it had come to, in case this part is killed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        judged = () if spec.trained else (self._part, self._result, self._system)
        for old in (self._child, self.events, self.stop, self._facts, self._job, *judged):
            old.unlink(missing_ok=True)
        write_json(self._spec, spec)

    def read_spec(self) -> TrialSpec:
        """The spec.

        Raises:
            StudyError: There is none, or it cannot be read.
        """
        return from_json(TrialSpec, self._spec.read_text(), str(self._spec))

    def write_child(self, facts: ChildFacts) -> None:
        """Write what the training saw of itself; only its own process does."""
        write_json(self._child, facts)

    def read_child(self) -> ChildFacts | None:
        """What the training saw of itself, if it came to writing it."""
        return _read(ChildFacts, self._child)

    def write_part(self, result: TrialResult) -> None:
        """Write what the trial has come to with a part that has ended; only the study does."""
        write_json(self._part, result)

    def read_part(self) -> TrialResult | None:
        """What the trial had come to when its last part ended."""
        return _read(TrialResult, self._part)

    def write_result(self, result: TrialResult) -> None:
        """Write what the trial came to, which MLflow does not have yet; only the study does."""
        self.logged.unlink(missing_ok=True)
        write_json(self._result, result)

    def read_result(self) -> TrialResult | None:
        """What the trial came to; None so long as nobody has judged it."""
        return _read(TrialResult, self._result)

    def add_sample(self, sample: SystemSample) -> None:
        """Keep what the machine did while the trial ran, one line a sample."""
        with self._system.open("a", encoding="utf-8") as lines:
            lines.write(to_json(sample) + "\n")

    def read_samples(self) -> list[SystemSample]:
        """The samples, less a line that was cut."""
        samples: list[SystemSample] = []
        lines = self._system.read_text("utf-8").splitlines() if self._system.exists() else []
        for line in lines:
            with suppress(StudyError):
                samples.append(from_json(SystemSample, line, str(self._system)))
        return samples

    @property
    def _system(self) -> Path:
        return self.path / "system.jsonl"

    @property
    def events(self) -> Path:
        """What the job that runs the trial tells while it runs, a line each."""
        return self.path / "events.jsonl"

    @property
    def stop(self) -> Path:
        """Exists when the job is to end the trial now."""
        return self.path / "stop"

    def write_job(self, job: str) -> None:
        """Write the id of the job that runs the trial, as its executor knows it."""
        draft = self._job.with_suffix(".part")
        draft.write_text(job)
        os.replace(draft, self._job)

    def forget_job(self) -> None:
        """Note that the end of the job was heard: what it came to is recorded."""
        self._job.unlink(missing_ok=True)

    def read_job(self) -> str | None:
        """The id of the job whose end nobody has heard; None where there is none."""
        try:
            return self._job.read_text()
        except FileNotFoundError:
            return None

    @property
    def taken_along(self) -> list[Path]:
        """What a job that does not see this folder goes on from, besides the spec."""
        trained = self.read_spec().trained
        files = (self.log, self.checkpoint(trained)) if trained else ()
        return [file for file in files if file.exists()]

    @property
    def brought_back(self) -> list[Path]:
        """What such a job has left in its own folder once it has ended: all files, facts last."""
        start = self.checkpoint(self.read_spec().trained)
        stay = {self._spec, self.events, self.stop, self._facts, start}
        left = (file for file in sorted(self.path.rglob("*")) if file.is_file())
        return [*(f for f in left if f not in stay and f.suffix != ".part"), self._facts]

    @property
    def is_under_way(self) -> bool:
        """Whether a job may run the trial that nobody has heard the end of."""
        return self._job.exists() and not self._facts.exists() and not self.stop.exists()

    def write_facts(self, facts: TrialFacts) -> None:
        """Write all that was seen of the trial; only the job that ran it does."""
        write_json(self._facts, facts)

    def read_facts(self) -> TrialFacts | None:
        """All that the job saw of the trial, once that has ended."""
        return _read(TrialFacts, self._facts)

    @property
    def _job(self) -> Path:
        return self.path / "job"

    @property
    def _facts(self) -> Path:
        return self.path / "facts.json"

    @property
    def _spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def _child(self) -> Path:
        return self.path / "child.json"

    @property
    def _part(self) -> Path:
        return self.path / "part.json"

    @property
    def _result(self) -> Path:
        return self.path / "result.json"


def _read(kind: type[Record], path: Path) -> Record | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return from_json(kind, text, str(path))
