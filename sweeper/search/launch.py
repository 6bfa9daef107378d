"""Puts a run together: settings in, trials run and recorded, what to do next printed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from sweeper.compose import CONF_DIR
from sweeper.display import StudyDisplay, result_line
from sweeper.doctor.checks import require_health
from sweeper.executors.devices import find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.search.loop import StudyLoop
from sweeper.search.space import Cell, Space
from sweeper.search.study import CellStudy
from sweeper.settings import Settings
from sweeper.specs import SpecBuilder
from sweeper.tracking import Tracker
from sweeper.trial import EpochReport, Outcome, TrialSpec, cell_label
from sweeper.vram.budget import Budget, Card, resolve_budget
from sweeper.vram.forecast import forecast

SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Workplace:
    """What every trial of a run shares."""

    console: Console
    settings: Settings
    name: str
    folder: Path
    executor: LocalExecutor
    budget: Budget
    builder: SpecBuilder

    def forecast(self, specs: list[TrialSpec]) -> list[TrialSpec]:
        """The specs with their predicted peaks."""
        return forecast(specs, Path(self.settings.runs_dir) / "cache" / "vram")

    def open_tracker(self) -> Tracker:
        """Connect to MLflow; only when nothing can be refused any more."""
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        artifacts = Path(self.settings.runs_dir) / "mlartifacts"
        return Tracker(self.settings.tracking_uri, self.settings.tracking.experiment, artifacts)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, soft_wrap=True)


def run_study(space: Space) -> bool:
    """Run or resume the study over a space; False when it was interrupted.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    settings = space.cells[0].settings
    default = f"{settings.model.name}-{settings.data.name}-{space.digest()}"
    warnings = require_health(settings, len(space.cells))
    with _workplace(settings, settings.study.name or default) as place:
        for warning in warnings:
            place.say(warning)
        place.say(f"study {place.name}: {space.describe()}")
        specs = [  # every fault is found before the first trial
            place.builder.build(c.settings, c.strategy, (*space.fixed, *c.overrides))
            for c in space.cells
        ]
        params = [c.params for c in space.cells]
        spec_of = dict(zip(params, place.forecast(specs), strict=True))

        def build(cell: Cell, number: int) -> TrialSpec:
            return replace(spec_of[cell.params], number=number)

        n_trials = min(settings.study.n_trials or len(space.cells), len(space.cells))
        tracker = place.open_tracker()
        study = CellStudy(
            place.name,
            space,
            settings.storage_url,
            _sampler(settings, space),
            settings.study.seed,
            place.budget.budget_gib,
        )
        tracker.start_study(place.name, _study_params(space, place.budget), _note(space))
        with StudyDisplay(place.console) as display:
            loop = StudyLoop(study, build, place.executor, tracker, display, place.folder)
            done = loop.run(n_trials)
        best = study.best()
        tracker.finish_study(
            {"best_map50": best.value} if best and best.value is not None else {},
            {"best_trial": str(best.number)} if best else {},
            done,
        )
        _say_next_steps(place, done)
    return done


def run_single(settings: Settings) -> bool:
    """Run one trial under the parent run ``single``; False unless it completed.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    label = cell_label(settings.batch, settings.accumulate, settings.amp)
    with _workplace(settings, settings.study.name or SINGLE) as place:
        (spec,) = place.forecast([place.builder.build(settings, label)])
        tracker = place.open_tracker()
        folder = _next_trial_folder(place.folder)
        spec = replace(spec, number=int(folder.name))
        tracker.start_study(place.name, {}, "Trials run one at a time.")
        run_id = tracker.start_trial(spec)
        with StudyDisplay(place.console) as display:
            display.start(1)
            display.trial_started(spec)
            watcher = _SingleWatcher(display, spec.number)
            future = place.executor.submit(spec, folder, watcher)
            try:
                result = future.result()
            except KeyboardInterrupt:
                place.executor.close()
                result = future.result()
        tracker.finish_trial(run_id, result, folder)
        tracker.finish_study({}, {}, done=True)
        place.say(f"{label}  {result_line(result)}")
        if result.amp_dtype:
            place.say(
                f"{result.optimizer_steps} optimizer steps from {result.iterations} "
                f"micro-batches in {result.amp_dtype}"
            )
        place.say(f"records: {folder}")
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
def _workplace(settings: Settings, name: str) -> Iterator[Workplace]:
    """Devices, budget and an executor whose fork server warms up meanwhile."""
    devices = find_devices(settings.executor.slots)
    budget = resolve_budget(Card(**vars(settings.vram)), devices.gpu, CONF_DIR / "vram")
    threads = max(1, len(os.sched_getaffinity(0)) // len(devices.names))
    executor = LocalExecutor(devices.names)
    folder = Path(settings.runs_dir) / name
    builder = SpecBuilder(name, budget, threads)
    console = Console(highlight=False)
    place = Workplace(console, settings, name, folder, executor, budget, builder)
    for note in (*devices.notes, budget.message):
        if note:
            place.say(note)
    try:
        yield place
    finally:
        executor.close()


def _sampler(settings: Settings, space: Space) -> str:
    if settings.study.sampler != "auto":
        return settings.study.sampler
    wanted = settings.study.n_trials
    return "grid" if wanted is None or wanted >= len(space.cells) else "tpe"


def _next_trial_folder(study: Path) -> Path:
    """Claim the first free trial number of a study without storage."""
    taken = [int(p.name) for p in (study / "trials").iterdir() if p.name.isdigit()]
    folder = study / "trials" / f"{max(taken, default=-1) + 1:04d}"
    folder.mkdir()
    return folder


def _study_params(space: Space, budget: Budget) -> dict[str, str]:
    return {
        "space": space.describe(),
        "fixed": " ".join(space.fixed),
        "budget_gib": f"{budget.budget_gib:g}",
        "budget_source": budget.source,
    }


def _note(space: Space) -> str:
    return f"Search space: `{space.describe()}`"


def _say_next_steps(place: Workplace, done: bool) -> None:
    if not done:
        place.say("stopped. The same command goes on where it left off.")
        return
    place.say(f"report:  python -m sweeper.report study.name={place.name}")
    place.say("compare: make ui")
    place.say(f"records: {place.folder}")
