"""The winner trained once more, where its weights were not kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeper.deploy.source import Source
from sweeper.errors import DeployError
from sweeper.executors.devices import find_devices
from sweeper.executors.machine import CPU
from sweeper.numbers import count, duration
from sweeper.study.display import StudyDisplay
from sweeper.study.trials import unrecorded_trials
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec


def train_again(
    source: Source, epochs: int | None, folder: Path, say: Callable[[str], None]
) -> Source:
    """Train the winning configuration once more; the source with the weights and how it got them.

    Raises:
        DeployError: The trial did not complete.
    """
    assert source.spec is not None
    whole = source.spec.from_the_start()
    spec = replace(whole, epochs=epochs or whole.epochs, keep_weights=True, timeout_s=0.0)
    length = count(spec.epochs, "epoch")
    say(
        f"weights were not kept (study.keep_best=true or study.finish=true keeps them): training "
        f"{spec.label} again for {length} (deploy.epochs=N trains less)"
    )
    result = _train(spec, folder)
    if result.outcome is not Outcome.COMPLETE:
        raise DeployError(
            f"training {spec.label} again ended as {result.outcome.value}: {result.reason}"
        )
    say(f"trained {length} in {duration(result.wall_time_s)}")
    return replace(
        source,
        weights=TrialFolder.of(folder, spec.number).best_weights,
        text=f"{source.text}, trained once more for {length}: its weights were not kept",
    )


def _train(spec: TrialSpec, folder: Path) -> TrialResult:
    """Run one trial below ``folder``, as a study would, without records elsewhere."""
    devices = find_devices(1)
    here = devices.gpu.name if devices.gpu else CPU
    if spec.runs_on not in {"", CPU, here}:
        raise DeployError(
            f"the winner was trained on {spec.runs_on}, its weights were not kept, and here is "
            f"{here}. Run the study with study.finish=true or study.keep_best=true, or give "
            "deploy.weights."
        )
    display = StudyDisplay()
    display.start(1)
    with unrecorded_trials(folder, devices, display) as trials:
        return trials.run_one(spec)
