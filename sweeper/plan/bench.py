"""Trains a few steps with batch after batch of a setup, on one card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sweeper.config.settings import Settings, StudySettings
from sweeper.executors.devices import Devices
from sweeper.memory.measure.nvml import Device
from sweeper.plan.bracket import TRAININGS, bracket
from sweeper.plan.cells import Request, Setup, accumulate_for
from sweeper.plan.predictions import Found
from sweeper.study.display import StudyDisplay
from sweeper.study.trials import Trials, unrecorded_trials
from sweeper.training.full_images import few_steps
from sweeper.trial.alloc_conf import alloc_conf
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec

Results = dict[Request, TrialResult]


class Fault(Exception):
    """A training ended in a way that says nothing about memory."""


def train(
    setups: Mapping[Setup, Found], effective_batch: int, device: Device, settings: Settings
) -> tuple[Results, str]:
    """Bracket the largest batch of every setup: every training, and what ended them early if so.

    Raises:
        KeyboardInterrupt: A signal stopped it.
    """
    folder = Path(settings.runs_dir) / "cache" / "verify" / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    display = StudyDisplay(Console(stderr=True, highlight=False))
    display.start(len(setups) * TRAININGS)
    results: Results = {}
    fault = ""
    try:
        with unrecorded_trials(folder, Devices((device.uuid,), device), display) as trials:
            bench = Bench(trials, folder / "images", settings.study, results)
            for setup, found in setups.items():
                bench.bracket(setup, found, effective_batch)
    except Fault as error:
        fault = f"{error} Its files: {folder}"
    finally:
        if not fault:
            shutil.rmtree(folder, ignore_errors=True)
    return results, fault


class Bench:
    """One training after the other, with images of its own."""

    def __init__(
        self, trials: Trials, images: Path, study: StudySettings, results: Results
    ) -> None:
        """``results`` takes what came of each."""
        self._trials, self._images = trials, images
        self._study, self._results = study, results

    def bracket(self, setup: Setup, found: Found, effective_batch: int) -> None:
        """Begin with the largest batch that is predicted to keep to the budget."""

        def trains(batch: int) -> bool:
            accumulate = accumulate_for(batch, effective_batch)
            return self._trains(Request(setup, batch, accumulate))

        bracket(trains, found.tight.batch if found.tight else 1)

    def _trains(self, request: Request) -> bool:
        """Whether it keeps to its budget."""
        try:
            result = self._trials.run_one(self._spec(request))
        finally:
            shutil.rmtree(self._images, ignore_errors=True)
        if result.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        self._results[request] = result
        if result.outcome.infeasible:
            return False
        if result.outcome is not Outcome.COMPLETE:
            said = f"{result.outcome}: {result.reason}"
        elif not result.optimizer_steps:
            said = "the scaler skipped every step, so there was no optimizer state."
        else:
            return True
        raise Fault(f"plan.verify ended at batch={request.batch}, {said}")

    def _spec(self, request: Request) -> TrialSpec:
        budget = request.setup.budget
        config = request.config
        conf = alloc_conf(config.allocator, os.environ)
        return replace(
            few_steps(config, self._images, budget.limit_gib, conf),
            number=len(self._results),
            context_gib=budget.context_gib,
            timeout_s=self._study.trial_timeout_s,
            stall_timeout_s=self._study.stall_timeout_s,
        )
