"""The cells of the check, trained for one short epoch on the first card of the machine.

``python -m sweeper.gpu_check.cells FOLDER`` trains those that lie prepared in a folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sweeper.config.compose import compose_settings
from sweeper.config.settings import Settings
from sweeper.errors import readable_errors
from sweeper.executors.devices import find_devices
from sweeper.memory.budget import Budget
from sweeper.memory.predict.parallel import predict_specs
from sweeper.study.display import StudyDisplay
from sweeper.study.specs import SpecBuilder
from sweeper.study.trials import unrecorded_trials
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import TrialResult
from sweeper.trial.spec import TrialSpec

MODELS = ("yolo11n", "yolo11s", "yolo11m")
CELLS = ((4, 1, False), (4, 1, True), (8, 1, False), (8, 4, True))  # batch, accumulate, amp
# Images enough for one optimizer step, and for one validation at twice the batch.
SETTINGS = (
    *("data=digits", "data.digits.train=32", "data.digits.val=16", "data.imgsz=640"),
    *("train=brief", "train.epochs=1", "train.workers=2", "executor.slots=1"),
)

Trained = list[tuple[TrialSpec, TrialResult]]


def build_specs(runs_dir: str, budget: Budget) -> list[TrialSpec]:
    """The specs of all cells, with their predicted peaks."""
    builder = SpecBuilder("gpu-check", budget, threads=1)
    cells = [
        replace(settings, batch=batch, accumulate=accumulate, amp=amp)
        for settings in _settings(runs_dir)
        for batch, accumulate, amp in CELLS
    ]
    built = [builder.build(c, c.label) for c in cells]
    numbered = [replace(spec, number=i) for i, spec in enumerate(built)]
    return predict_specs(numbered, Path(runs_dir) / "cache" / "vram")


def prepare(folder: Path, specs: Iterable[TrialSpec]) -> None:
    """Lay specs down for `train`."""
    for spec in specs:
        TrialFolder.of(folder, spec.number).prepare(spec)


def train(folder: Path) -> bool:
    """Train every spec of a folder, one after the other; False when a signal stopped it."""
    todo = [trial.read_spec() for trial in TrialFolder.all_of(folder)]
    display = StudyDisplay()
    display.start(len(todo))
    with unrecorded_trials(folder, find_devices(1), display) as trials:
        return trials.run(lambda: todo.pop(0) if todo else None, lambda *_: None)


def read(folder: Path) -> Trained:
    """What came of the specs of a folder, as far as they were trained."""
    trials = list(TrialFolder.all_of(folder))
    return [(t.read_spec(), result) for t in trials if (result := t.read_result())]


def _settings(runs_dir: str) -> Iterator[Settings]:
    for model in MODELS:
        yield compose_settings([*SETTINGS, f"model={model}", f"runs_dir={runs_dir}"])


if __name__ == "__main__":
    with readable_errors():
        sys.exit(0 if train(Path(sys.argv[1])) else 1)
