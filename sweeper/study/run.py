"""Puts a run together: settings in, trials run and recorded, what to do next printed."""

from __future__ import annotations

import itertools
import re
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.errors import MachineError, SettingsError
from sweeper.numbers import count
from sweeper.passwords import without_passwords
from sweeper.report.findings import Findings
from sweeper.report.publish import publish
from sweeper.study.bounds import proving_order
from sweeper.study.confirm import confirm, confirmed_unequally, fresh_seeds
from sweeper.study.context import RunContext, open_context
from sweeper.study.crashes import nothing_but_crashes
from sweeper.study.display import StudyDisplay
from sweeper.study.earlier import (
    await_shared_folder,
    refuse_study_folder,
    require_own_folder,
    require_same_data,
)
from sweeper.study.finish import finish
from sweeper.study.identity import identity, new_id
from sweeper.study.lease import Lease, study_lease
from sweeper.study.loop import StudyLoop
from sweeper.study.optuna_study import CellStudy
from sweeper.study.provenance import describe_origin
from sweeper.study.sharing import spread_order
from sweeper.study.space import Cell, Space, refuse_swept_card
from sweeper.study.storage import readable_faults, study_exists
from sweeper.study.telling import (
    caution_of_length,
    say_outcome,
    say_result,
    training_in_words,
)
from sweeper.tracking.outbox import Outbox
from sweeper.trial.command import tool_command
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome
from sweeper.trial.spec import SINGLE, TrialSpec
from sweeper.trial.study_record import StudyRecord

NOTHING_TO_CONFIRM = "nothing is confirmed: no cell can be recommended so far"
HALF_CONFIRMED = (
    "cells that earlier starts confirmed have unlike numbers of fresh seeds: "
    "study.confirm.top=N and study.confirm.seeds=N complete them"
)


def run_study(space: Space) -> bool:
    """Run or resume the study over a space; False when it was interrupted.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    settings = space.cells[0].settings
    refuse_swept_card(space)
    _refuse_joined_rungs(settings)
    with open_context(settings, _study_name(settings, space)) as context, ExitStack() as held:
        context.say(f"study {context.name}: {space.describe()}")
        spec_of = _specs(context, space)
        with readable_faults():
            url, join = settings.storage_url, settings.study.join
            lease = held.enter_context(study_lease(context.name, url, join))
            held.enter_context(context.jobs_ended(lease.require))
            study = _open_study(context, space, lease)
            if not lease.leads:
                await_shared_folder(context.folder, study.id)
            require_own_folder(context.folder, study.id, study.decided)
            if caution := require_same_data(context.folder, study.decided, spec_of.values()):
                context.say(caution)
        if study.finished:
            rest = "study.resume=false starts anew" if not study.open_cells else "going on"
            context.say(f"{count(study.finished, 'trial')} of it had run before: {rest}")
        if study.open_cells and (caution := caution_of_length(spec_of.values())):
            context.say(caution)
        return _search(context, space, study, spec_of, lease)


def run_single(settings: Settings, overrides: tuple[str, ...]) -> bool:
    """Run one trial under the parent run ``single``; False unless it completed.

    Args:
        settings: The trial's.
        overrides: As typed, to tell it from the others there.

    Raises:
        SweeperError: Something is wrong that a person must mend first.
    """
    label = settings.label
    with open_context(settings, settings.study.name or SINGLE) as context:
        (spec,) = context.predict([context.builder.build(settings, label, overrides)])
        context.say(f"{label}: {training_in_words([spec])}")
        refuse_study_folder(context.folder)
        earlier = context.folder.read()
        record = replace(_record(context), id=(earlier.id if earlier else "") or new_id())
        older = earlier is not None and not earlier.id
        outbox = context.open_outbox(record, "Trials run one at a time.", older)
        folder = TrialFolder.claim_next(context.folder.trials)
        with context.ended_at_once(outbox), StudyDisplay(context.console) as display:
            display.start(1)
            trials = context.open_trials(outbox, display)
            result = trials.run_one(replace(spec, number=folder.number))
        context.close(outbox, done=True)
        say_result(context, result, folder)
    return result.outcome is Outcome.COMPLETE


def _refuse_joined_rungs(settings: Settings) -> None:
    if settings.study.join and (settings.rungs or settings.study.share):
        raise SettingsError(
            "study.join=true needs study.rungs=[] and no study.share: at a rung all trials wait "
            "for each other in one process. Give study.rungs=[] to every driver of the study."
        )


def _specs(context: RunContext, space: Space) -> dict[Cell, TrialSpec]:
    """What each cell trains, with its predicted peak; every fault is found before a trial runs."""
    specs = [
        context.builder.build(c.settings, c.strategy, (*space.fixed, *c.overrides))
        for c in space.cells
    ]
    context.say(training_in_words(specs))
    datasets = (context.builder.dataset(cell.settings) for cell in space.cells)
    for caution in dict.fromkeys(chain.from_iterable(d.cautions for d in datasets)):
        context.say(caution)
    return dict(zip(space.cells, context.predict(specs), strict=True))


def _open_study(context: RunContext, space: Space, lease: Lease) -> CellStudy:
    settings, limit_gib = context.settings, context.budget.limit_gib
    return CellStudy(
        context.name,
        space,
        settings.storage_url,
        settings.study.sampler,
        settings.study.seed,
        limit_gib,
        identity(space, limit_gib, context.source, settings.rungs),
        lease.driver,
        lease.others,
    )


def _search(
    context: RunContext,
    space: Space,
    study: CellStudy,
    spec_of: dict[Cell, TrialSpec],
    lease: Lease,
) -> bool:
    """Run the cells, then the confirmations, and say what came of it; False when interrupted.

    Raises:
        MachineError: Trials end as if it were not for their cells, or do nothing but crash.
        StudyError: Another driver has taken the study over.
    """
    settings = context.settings
    n_trials = settings.study.n_trials or len(space.cells)
    asked = replace(
        _record(context),
        space=space.describe(),
        fixed=shlex.join(without_passwords(space.fixed)),
        command=_command(space),
        n_trials=n_trials,
        id=study.id,
    )
    note = f"Search space: `{space.describe()}`"
    outbox = context.open_outbox(asked, note, study.older, lease.leads)
    specs = list(spec_of.values())
    order: Sequence[int] = ()
    if settings.study.sampler == "auto":
        whole = n_trials >= len(specs)
        order = proving_order(specs, context.measured) if whole else spread_order(specs, n_trials)
    context.executor.expect(len(study.open_cells))
    with context.ended_at_once(outbox, lease.leads), context.open_display() as display:
        trials = context.open_trials(outbox, display, lease.require)
        share = bool(order) and _share(settings, space)
        loop = StudyLoop(study, spec_of, trials, outbox, display, order, settings.rungs, share)
        done = loop.run(n_trials)
        found = Findings(context.folder.read_with_trials(asked))
        if not settings.study.confirm.top and confirmed_unequally(found.trials):
            display.note(HALF_CONFIRMED)
        top = settings.study.confirm.top if done and lease.leads else 0
        best = found.to_confirm(top) if top else []
        if top and not best:
            display.note(NOTHING_TO_CONFIRM)
        if best:
            seeds = fresh_seeds(spec_of.values(), settings.study.confirm.seeds)
            cells = ", ".join(found.cell_of(number).name for number in best)
            display.note(f"confirming {cells} with seeds {', '.join(map(str, seeds))}")
            done = confirm(best, seeds, trials, display)
        if done and lease.leads and settings.study.finish:
            found = Findings(context.folder.read_with_trials(asked))
            done = finish(found.recommended, trials, display)
    if not lease.leads:
        _leave(context, outbox, loop)
        return done
    tracked = context.close(outbox, done)
    if (summary := display.summary()).row_count:
        context.console.print(summary)
    if loop.fault:
        context.say(f"report: {publish(settings, context.name, tracked).path}")
        raise MachineError(loop.fault)
    say_outcome(context, study, done, tracked)
    if done and (crashes := nothing_but_crashes(found.trials, context.folder)):
        raise MachineError(crashes)
    return done


def _leave(context: RunContext, outbox: Outbox, loop: StudyLoop) -> None:
    """End a driver that had joined: the study's end is up to the one that leads it."""
    if not outbox.leave():
        context.say("MLflow has not taken every record; the next start of the study sends them")
    if loop.fault:
        raise MachineError(loop.fault)
    context.say(f"left {context.name}: the driver that leads it confirms and reports")


def _share(settings: Settings, space: Space) -> bool:
    """Whether one trial may decide for the cells that take the same optimizer steps.

    By default not where these are what one wants to compare: named strategies, one effective
    batch, or every cell to its end.
    """
    if settings.study.share is not None:
        return settings.study.share
    compared = space.names("memory") or settings.study.effective_batch is not None
    return bool(settings.rungs) and not compared


def _study_name(settings: Settings, space: Space) -> str:
    """The name given or made; with study.resume=false the first one that is free."""
    titles = re.sub(r"[^\w.-]+", "-", f"{settings.model.title}-{settings.data.title}")
    name = settings.study.name or f"{titles}-{space.digest()}"
    if settings.study.resume:
        return name
    Path(settings.runs_dir).mkdir(parents=True, exist_ok=True)
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(n for n in names if not study_exists(n, settings.storage_url))


def _record(context: RunContext) -> StudyRecord:
    """What this run starts with, as far as it does not depend on a space."""
    settings, now = context.settings, time.time()
    origin = describe_origin(context.machine)
    return StudyRecord(
        name=context.name,
        limit_gib=context.budget.limit_gib,
        budget_source=context.budget.source,
        tracking_uri=settings.tracking_uri,
        experiment=settings.tracking.experiment,
        started=now,
        last_started=now,
        machine=origin["machine"],
        versions=origin["versions"],
        git_commit=origin["git_commit"],
    )


def _command(space: Space) -> str:
    """The command that runs the study again."""
    return tool_command("sweeper", "-m", *without_passwords(space.overrides))
