"""Whether the largest batches of a plan train on the card that is here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.emulator.machine import Card
from sweeper.errors import MachineError, SettingsError
from sweeper.executors.devices import find_devices
from sweeper.memory.budget import Budget
from sweeper.memory.cards import load_card
from sweeper.memory.measure.nvml import Device
from sweeper.numbers import change
from sweeper.plan.cells import Inquiry, Setup
from sweeper.plan.predictions import Found, Plan, PlanCell, predict_cells
from sweeper.trial.record import Outcome, TrialResult

SAME_SIZE = 3.0  # percent by which drivers differ in what they say of a card's memory


@dataclass(frozen=True, slots=True)
class Tried:
    """A cell with its predicted peak, and what came of training it."""

    cell: PlanCell
    result: TrialResult

    @property
    def peak_gib(self) -> float | None:
        """Its peak; None where the training did not come to its end."""
        memory = self.result.memory
        return memory.peak_gib if memory and self.result.outcome is Outcome.COMPLETE else None

    @property
    def batch_s(self) -> float | None:
        """Median time of a micro-batch, seconds."""
        return self.result.epochs[0].batch_s if self.result.epochs else None


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of a setup.

    Attributes:
        setup: What was trained.
        found: What was predicted of it.
        tried: By batch.
    """

    setup: Setup
    found: Found
    tried: tuple[Tried, ...]

    @property
    def trains(self) -> int | None:
        """The largest batch that did."""
        batches = [t.cell.batch for t in self.tried if t.result.outcome is Outcome.COMPLETE]
        return max(batches, default=None)

    @property
    def fails(self) -> int | None:
        """The smallest batch that did not fit."""
        return min((t.cell.batch for t in self.tried if t.result.outcome.infeasible), default=None)


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was tried.

    Attributes:
        device: On which card.
        setups: Those of a plan whose budget is of that card.
        elsewhere: The cards of the others.
        fault: What ended it early; empty when nothing did.
    """

    device: Device
    setups: tuple[Verified, ...]
    elsewhere: tuple[str, ...]
    fault: str


def card_here(inquiry: Inquiry) -> Device:
    """The card of this machine, on which a plan can be verified.

    Raises:
        MachineError: There is none.
        SettingsError: The plan is for other cards.
    """
    devices = find_devices("auto")
    if devices.gpu is None:
        notes = "".join(f" {note}" for note in devices.notes)
        raise MachineError(
            f"plan.verify needs a card here, and there is none.{notes} Set vram.emulated=true to "
            "verify on an emulated one, or leave out plan.verify=true."
        )
    if not any(is_of(budget, devices.gpu) for budget in inquiry.budgets):
        cards = ",".join(dict.fromkeys(budget.card for budget in inquiry.budgets))
        raise SettingsError(
            f"plan.verify trains on the card that is here, {devices.gpu.name}, but the plan is "
            f"for vram={cards}. Leave out vram to plan for this one, or set vram.emulated=true."
        )
    return devices.gpu


def is_of(budget: Budget, device: Device) -> bool:
    """Whether a budget is one of the card: a file of conf/vram agrees with it in name and size."""
    if device.name in (budget.card, Card(name=budget.card).title):
        return True
    title = re.sub(r"[^a-z0-9]", "", device.name.lower())
    stem = "".join(word for word in budget.card.split("_") if not word.isdigit())
    difference = change(load_card(budget.card).total_gib, device.total_gib)
    return stem in title and difference is not None and abs(difference) < SAME_SIZE


def verify(plan: Plan, device: Device, settings: Settings) -> Verification:
    """Train the largest batches that a plan predicts, and others until the truth is bracketed.

    Raises:
        KeyboardInterrupt: A signal stopped it.
    """
    from sweeper.plan.bench import train  # mlflow comes with it, and takes a second to import

    here = {s: found for s, found in plan.found.items() if is_of(s.budget, device)}
    results, fault = train(here, plan.inquiry.effective_batch, device, settings)
    cells = predict_cells(list(results), Path(settings.runs_dir) / "cache" / "vram")
    tried = [Tried(cells[r], results[r]) for r in sorted(results, key=lambda r: r.batch)]
    return Verification(
        device=device,
        setups=tuple(
            Verified(setup, found, tuple(t for t in tried if t.cell.setup == setup))
            for setup, found in here.items()
        ),
        elsewhere=tuple(dict.fromkeys(s.budget.card for s in plan.found if s not in here)),
        fault=fault,
    )
