"""Puts a run together: settings in, trials run and recorded, what to do next printed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from sweeper.display import StudyDisplay, result_line
from sweeper.executors.local import LocalExecutor
from sweeper.search.loop import StudyLoop
from sweeper.search.space import Cell, Space
from sweeper.search.study import CellStudy
from sweeper.settings import Settings
from sweeper.specs import SpecBuilder
from sweeper.tracking import Tracker
from sweeper.trial import EpochReport, Outcome, TrialSpec, cell_label

SINGLE = "single"


def run_study(space: Space) -> bool:
    """Run or resume the study over a space; False when it was interrupted.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    settings = space.cells[0].settings
    default = f"{settings.model.name}-{settings.data.name}-{space.digest()}"
    name = settings.study.name or default
    console = Console(highlight=False)
    console.print(f"study {name}: {space.describe()}", markup=False, soft_wrap=True)
    n_trials = min(settings.study.n_trials or len(space.cells), len(space.cells))
    with _executor(settings) as executor:
        builder = SpecBuilder(name, _threads(executor.slots))

        def build(cell: Cell, number: int) -> TrialSpec:
            return builder.build(
                cell.settings, number, cell.strategy, (*space.fixed, *cell.overrides)
            )

        for cell in space.cells:  # every fault is found before the first trial
            build(cell, 0)
        folder = _study_folder(settings, name)
        tracker = _tracker(settings)
        study = CellStudy(
            name, space, settings.storage_url, _sampler(settings, space), settings.study.seed
        )
        tracker.start_study(name, _study_params(space, settings), _note(space))
        with StudyDisplay(console) as display:
            loop = StudyLoop(study, build, executor, tracker, display, folder)
            done = loop.run(n_trials)
        best = study.best()
        tracker.finish_study(
            {"best_map50": best.value} if best and best.value is not None else {},
            {"best_trial": str(best.number)} if best else {},
            done,
        )
    _print_next_steps(console, name, folder, done)
    return done


def run_single(settings: Settings) -> bool:
    """Run one trial under the parent run ``single``; False unless it completed.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    name = settings.study.name or SINGLE
    label = cell_label(settings.batch, settings.accumulate, settings.amp)
    console = Console(highlight=False)
    with _executor(settings) as executor:
        builder = SpecBuilder(name, _threads(1))
        builder.build(settings, 0, label, ())
        folder, number = _next_trial_folder(_study_folder(settings, name))
        spec = builder.build(settings, number, label, ())
        tracker = _tracker(settings)
        tracker.start_study(name, {}, "Trials run one at a time.")
        run_id = tracker.start_trial(spec)
        with StudyDisplay(console) as display:
            display.start(1)
            display.trial_started(spec)
            future = executor.submit(spec, folder, _SingleWatcher(display, number))
            try:
                result = future.result()
            except KeyboardInterrupt:
                executor.close()
                result = future.result()
        tracker.finish_trial(run_id, result, folder)
        tracker.finish_study({}, {}, done=True)
    console.print(f"{label}  {result_line(result)}", markup=False, soft_wrap=True)
    console.print(
        f"{result.optimizer_steps} optimizer steps from {result.iterations} micro-batches in "
        f"{result.amp_dtype or 'no dtype'}; records in {folder}",
        markup=False,
        soft_wrap=True,
    )
    return result.outcome is Outcome.COMPLETE


class _SingleWatcher:
    """Shows the one trial's progress."""

    def __init__(self, display: StudyDisplay, number: int) -> None:
        self._display, self._number = display, number

    def on_progress(self, done: int, total: int) -> None:
        self._display.progress(self._number, done, total)

    def on_epoch(self, report: EpochReport) -> bool:
        self._display.epoch(self._number, report)
        return False


@contextlib.contextmanager
def _executor(settings: Settings) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(settings.executor.slots)
    try:
        yield executor
    finally:
        executor.close()


def _sampler(settings: Settings, space: Space) -> str:
    if settings.study.sampler != "auto":
        return settings.study.sampler
    wanted = settings.study.n_trials
    return "grid" if wanted is None or wanted >= len(space.cells) else "tpe"


def _threads(slots: int) -> int:
    return max(1, len(os.sched_getaffinity(0)) // slots)


def _tracker(settings: Settings) -> Tracker:
    artifacts = Path(settings.runs_dir) / "mlartifacts"
    return Tracker(settings.tracking_uri, settings.tracking.experiment, artifacts)


def _study_folder(settings: Settings, name: str) -> Path:
    folder = Path(settings.runs_dir) / name
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    return folder


def _next_trial_folder(study: Path) -> tuple[Path, int]:
    """Claim the first free trial number of a study without storage."""
    taken = [int(p.name) for p in (study / "trials").iterdir() if p.name.isdigit()]
    number = max(taken, default=-1) + 1
    folder = study / "trials" / f"{number:04d}"
    folder.mkdir()
    return folder, number


def _study_params(space: Space, settings: Settings) -> dict[str, str]:
    return {
        "space": space.describe(),
        "fixed": " ".join(space.fixed),
        "budget_gib": str(settings.vram.budget_gib),
    }


def _note(space: Space) -> str:
    return f"Search space: `{space.describe()}`"


def _print_next_steps(console: Console, name: str, folder: Path, done: bool) -> None:
    lines = (
        [
            f"report:  python -m sweeper.report study.name={name}",
            "compare: make ui",
            f"records: {folder}",
        ]
        if done
        else ["stopped. The same command goes on where it left off."]
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
