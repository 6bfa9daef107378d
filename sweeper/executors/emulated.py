"""Commands and plans on emulated cards: vram.emulated=true."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sweeper.config.settings import ExecutorSettings, VramSettings
from sweeper.emulator.launch import start_again
from sweeper.emulator.machine import MIB_PER_GIB, Card, Machine, is_emulated
from sweeper.errors import SettingsError
from sweeper.memory.cards import AUTO_CONTEXT_GIB, load_card
from sweeper.memory.measure.nvml import EMULATED_UUID, Device


def emulate(
    vram: VramSettings, executor: ExecutorSettings, compute: Literal["all", "light"] = "all"
) -> None:
    """Begin this command again on emulated cards, if it asks for them and is not there yet.

    Args:
        vram: The cards.
        executor: How many of them.
        compute: ``light`` where only memory matters.

    Raises:
        SettingsError: What it asks for cannot be emulated.
        EmulatorError: The card cannot be built.
    """
    if vram.emulated and not is_emulated():
        start_again(replace(emulated_machine(vram, executor), compute=compute))


def emulated_device(vram: VramSettings, executor: ExecutorSettings) -> Device:
    """The card that `emulate` would go to, for what needs its size only.

    Raises:
        SettingsError: What it asks for cannot be emulated.
    """
    card = emulated_machine(vram, executor).cards[0]
    return Device(0, EMULATED_UUID, card.title, card.gib)


def emulated_machine(vram: VramSettings, executor: ExecutorSettings) -> Machine:
    """A machine with the card of the settings, once for each slot."""
    if executor.name == "debug":
        raise SettingsError(
            "executor=debug trains on the CPU, so it needs no card. Leave out vram.emulated=true."
        )
    if vram.card == "auto":
        vram = replace(load_card(vram.fallback_card), emulated=True)
    if vram.total_gib is None:
        raise SettingsError("vram.total_gib must say how much memory the emulated card has.")
    context_gib = AUTO_CONTEXT_GIB if vram.context_gib is None else vram.context_gib
    slots = executor.slots if isinstance(executor.slots, int) else 1
    return Machine(
        cards=(Card(vram.total_gib, vram.card),) * slots,
        context_mib=round(context_gib * MIB_PER_GIB),
    )
