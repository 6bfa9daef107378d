"""Puts a run together: settings in, trials run and recorded, what to do next printed."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from sweeper.compose import CONF_DIR
from sweeper.display import StudyDisplay, result_line, say
from sweeper.executors.devices import Devices, find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.ledger import Ledger
from sweeper.search.confirm import confirm
from sweeper.search.frontier import proving_order
from sweeper.search.identity import identity
from sweeper.search.loop import StudyLoop
from sweeper.search.space import Space
from sweeper.search.study import CellStudy, make_pruner, study_exists
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
    devices: Devices
    executor: LocalExecutor
    budget: Budget
    builder: SpecBuilder

    def forecast(self, specs: list[TrialSpec]) -> list[TrialSpec]:
        """The specs with their predicted peaks."""
        return forecast(specs, Path(self.settings.runs_dir) / "cache" / "vram")

    @property
    def trials(self) -> Path:
        """Folder of the trial folders."""
        return self.folder / "trials"

    def open_ledger(self, params: dict[str, str], note: str) -> Ledger:
        """Start to keep records; only when nothing can be refused any more."""
        self.trials.mkdir(parents=True, exist_ok=True)
        tracking = self.settings.tracking
        artifacts = Path(self.settings.runs_dir) / "mlartifacts"

        def connect() -> Tracker:
            tracker = Tracker(self.settings.tracking_uri, tracking.experiment, artifacts)
            tracker.start_study(self.name, params, note)
            return tracker

        return Ledger(connect, self.trials, self.say)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        say(self.console, text)


def run_study(space: Space) -> bool:
    """Run or resume the study over a space; False when it was interrupted.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    settings = space.cells[0].settings
    with _workplace(settings, _study_name(settings, space)) as place:
        place.say(f"study {place.name}: {space.describe()}")
        specs = [  # every fault is found before the first trial
            place.builder.build(c.settings, c.strategy, (*space.fixed, *c.overrides))
            for c in space.cells
        ]
        spec_of = dict(zip(space.cells, place.forecast(specs), strict=True))
        sampler = _sampler(settings, space)
        measured = place.devices.gpu is not None
        order = proving_order(list(spec_of.values()), measured) if sampler == "grid" else ()
        budget_gib = place.budget.budget_gib
        study = CellStudy(
            place.name,
            space,
            settings.storage_url,
            sampler,
            settings.study.seed,
            make_pruner(settings.study.pruner, settings.train.epochs),
            budget_gib,
            identity(space, budget_gib),
        )
        ledger = place.open_ledger(_study_params(space, place.budget), _note(space))
        with StudyDisplay(place.console) as display:
            loop = StudyLoop(
                study,
                spec_of,
                place.executor,
                ledger,
                display,
                place.trials,
                order,
            )
            done = loop.run(settings.study.n_trials or len(space.cells))
            winners = [b.number for b in study.best(settings.study.confirm.top)]
            if done and winners:
                seeds = settings.study.confirm.seeds
                display.note(f"confirming trials {winners} with {seeds} other seeds each")
                done = confirm(winners, seeds, place.trials, place.executor, ledger, display)
        best = study.best()
        ledger.finish_study(
            {"best_map50": best[0].map50} if best else {},
            {"best_trial": str(best[0].number)} if best else {},
            done,
        )
        place.console.print(display.summary())
        _say_outcome(place, study, done)
    return done


def run_single(settings: Settings) -> bool:
    """Run one trial under the parent run ``single``; False unless it completed.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    label = cell_label(settings.batch, settings.accumulate, settings.amp)
    with _workplace(settings, settings.study.name or SINGLE) as place:
        (spec,) = place.forecast([place.builder.build(settings, label)])
        ledger = place.open_ledger({}, "Trials run one at a time.")
        folder = _next_trial_folder(place.trials)
        spec = replace(spec, number=int(folder.name))
        ledger.start(spec, folder)
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
        ledger.finish(spec, result, folder)
        ledger.finish_study({}, {}, done=True)
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
    place = Workplace(console, settings, name, folder, devices, executor, budget, builder)
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


def _study_name(settings: Settings, space: Space) -> str:
    """The name given or made; with study.resume=false the first one that is free."""
    name = settings.study.name or f"{settings.model.name}-{settings.data.name}-{space.digest()}"
    if settings.study.resume:
        return name
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(n for n in names if not study_exists(n, settings.storage_url))


def _next_trial_folder(trials: Path) -> Path:
    """Claim the first free trial number of a study without storage."""
    taken = [int(p.name) for p in trials.iterdir() if p.name.isdigit()]
    folder = trials / f"{max(taken, default=-1) + 1:04d}"
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


def _say_outcome(place: Workplace, study: CellStudy, done: bool) -> None:
    """The answer in one line, and what to do next."""
    if not done:
        place.say("stopped. The same command goes on where it left off.")
        return
    best = study.best()
    if best:
        place.say(f"best: trial {best[0].number}, mAP@0.5 {best[0].map50:.3f}")
    else:
        place.say(study.nearest_miss())
    place.say("next:")
    place.say(f"  python -m sweeper.report study.name={place.name}")
    place.say("  make ui   # compare in MLflow")
    place.say(f"  python -m sweeper.deploy study.name={place.name}")
