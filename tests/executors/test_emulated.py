"""From the group vram to an emulated machine."""

import pytest

from sweeper.config.compose import compose_settings
from sweeper.emulator.machine import Card, Machine
from sweeper.errors import SettingsError
from sweeper.executors.emulated import emulated_machine


def machine(*overrides: str) -> Machine:
    settings = compose_settings(["vram.emulated=true", *overrides])
    return emulated_machine(settings.vram, settings.executor)


def test_a_card_of_the_group_gives_its_memory_and_context() -> None:
    assert machine("vram=t4").cards == (Card(15.0, "t4"),)
    assert machine("vram=rtx3090").context_mib == round(0.45 * 1024)
    assert machine("vram=t4", "vram.context_gib=0.25").context_mib == 256


def test_there_is_one_card_for_each_slot() -> None:
    assert len(machine("vram=t4", "executor.slots=2").cards) == 2


def test_auto_is_the_card_that_would_be_simulated() -> None:
    assert machine("vram.fallback_card=t4").cards == (Card(15.0, "t4"),)


def test_training_in_this_process_needs_no_card() -> None:
    with pytest.raises(SettingsError, match=r"Leave out vram.emulated=true"):
        machine("executor=debug")
