"""Puts a run together: settings in, trials run and recorded, what to do next printed."""

from __future__ import annotations

import itertools
import shlex
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import SettingsError, StudyError, first_line
from sweeper.memory.budget import Budget
from sweeper.numbers import count
from sweeper.report.publish import publish
from sweeper.study.bounds import proving_order
from sweeper.study.confirm import confirm
from sweeper.study.context import Workplace, open_workplace, refuse_study_folder, study_lock
from sweeper.study.display import StudyDisplay, result_line
from sweeper.study.identity import identity
from sweeper.study.loop import StudyLoop
from sweeper.study.optuna_study import CellStudy
from sweeper.study.provenance import describe_origin
from sweeper.study.pruner import make_pruner
from sweeper.study.space import Space
from sweeper.study.storage import readable_faults, study_exists
from sweeper.tracking import FAULTS
from sweeper.trial.record import SINGLE, EpochReport, Outcome, TrialSpec, cell_label


def run_study(space: Space) -> bool:
    """Run or resume the study over a space; False when it was interrupted.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    settings = space.cells[0].settings
    if any(key.split(".")[0] == "vram" for key in space.dimensions):
        raise SettingsError(
            "vram holds for the whole study and cannot be swept: one budget decides what fits. "
            "Compare cards with python -m sweeper.plan."
        )
    with open_workplace(settings, _study_name(settings, space)) as place, ExitStack() as locks:
        place.say(f"study {place.name}: {space.describe()}")
        specs = [  # every fault is found before the first trial
            place.builder.build(c.settings, c.strategy, (*space.fixed, *c.overrides))
            for c in space.cells
        ]
        place.say(_training(specs))
        spec_of = dict(zip(space.cells, place.forecast(specs), strict=True))
        sampler = _sampler(settings, space)
        measured = place.devices.gpu is not None
        order = proving_order(list(spec_of.values()), measured) if sampler == "grid" else ()
        budget_gib = place.budget.budget_gib
        with readable_faults():
            locks.enter_context(study_lock(place.folder))
            study = CellStudy(
                place.name,
                space,
                settings.storage_url,
                sampler,
                settings.study.seed,
                make_pruner(settings.study.pruner, settings.train.epochs),
                budget_gib,
                identity(space, budget_gib, measured),
            )
        params = _budget_params(place.budget) | _space_params(space)
        n_trials = settings.study.n_trials or len(space.cells)
        if study.finished:
            rest = "study.resume=false starts anew" if not study.open_cells else "going on"
            place.say(f"{count(study.finished, 'trial')} of it had run before: {rest}")
        tags = {
            "command": _command(space),
            "n_trials": str(n_trials),
            **describe_origin(place.devices.gpu),
        }
        ledger = place.open_ledger(params, f"Search space: `{space.describe()}`", tags)
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
            done = loop.run(n_trials)
            winners = [b.number for b in study.best(settings.study.confirm.top)]
            if done and winners:
                seeds = settings.study.confirm.seeds
                display.note(f"confirming trials {winners} with {seeds} other seeds each")
                done = confirm(winners, seeds, place.trials, place.executor, ledger, display)
        ledger.finish_study(done)
        if (summary := display.summary()).row_count:
            place.console.print(summary)
        _say_outcome(place, study, done)
    return done


def run_single(settings: Settings, overrides: tuple[str, ...]) -> bool:
    """Run one trial under the parent run ``single``; False unless it completed.

    Args:
        settings: The trial's.
        overrides: As typed, to tell it from the others there.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    label = cell_label(settings.batch, settings.accumulate, settings.amp)
    with open_workplace(settings, settings.study.name or SINGLE) as place:
        (spec,) = place.forecast([place.builder.build(settings, label, overrides)])
        place.say(f"{label}: {_training([spec])}")
        params, origin = _budget_params(place.budget), describe_origin(place.devices.gpu)
        refuse_study_folder(place.folder)
        ledger = place.open_ledger(params, "Trials run one at a time.", origin)
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
        ledger.finish_study(done=True)
        place.say(f"{label}  {result_line(result)}")
        if result.amp_dtype:
            place.say(
                f"{count(result.optimizer_steps, 'optimizer step')} from "
                f"{count(result.iterations, 'micro-batch', 'micro-batches')} in {result.amp_dtype}"
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


def _training(specs: list[TrialSpec]) -> str:
    """``yolo11n on digits, 160 px, 4 epochs``: what the trials train, with all its values."""
    models, data, sizes, epochs = (
        "/".join(dict.fromkeys(f"{getattr(spec, name)}" for spec in specs))
        for name in ("model", "data", "imgsz", "epochs")
    )
    return f"training {models} on {data}, {sizes} px, {epochs} epoch{'s' * (epochs != '1')}"


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
    Path(settings.runs_dir).mkdir(parents=True, exist_ok=True)
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(n for n in names if not study_exists(n, settings.storage_url))


def _next_trial_folder(trials: Path) -> Path:
    """Claim the first free trial number of a study without storage."""
    taken = [int(p.name) for p in trials.iterdir() if p.name.isdigit()]
    folder = trials / f"{max(taken, default=-1) + 1:04d}"
    folder.mkdir()
    return folder


def _space_params(space: Space) -> dict[str, str]:
    return {"space": space.describe(), "fixed": shlex.join(space.fixed)}


def _budget_params(budget: Budget) -> dict[str, str]:
    return {"budget_gib": f"{budget.budget_gib:g}", "budget_source": budget.source}


def _command(space: Space) -> str:
    """The command that runs the study again."""
    return shlex.join(["python", "-m", "sweeper", "-m", *space.overrides])


def _say_outcome(place: Workplace, study: CellStudy, done: bool) -> None:
    """Write the report; say the answer and what to do next."""
    try:
        report = publish(place.settings, place.name)
    except (StudyError, *FAULTS) as error:
        place.say(f"no report yet, MLflow does not answer: {first_line(error)}")
    else:
        place.say(f"{report.answer}\nreport: {report.path}")
    if not done:
        place.say("stopped. The same command goes on where it left off.")
        return
    if not study.best():
        place.say(study.nearest_miss())
    place.say("next:")
    place.say(f"  python -m sweeper.report study.name={place.name} report.format=html")
    place.say("  make ui   # compare in MLflow")
    place.say(f"  python -m sweeper.deploy study.name={place.name}")
