from pathlib import Path

import pytest

from sweeper.emulator.machine import Card
from sweeper.trial.folder import TrialFolder
from tests import kill_loop
from tests.conftest import MachineMaker, link_traces

HELD = """
from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
from sweeper.memory.measure.nvml import list_devices
answer(**{d.name: [DeviceUsage(d.uuid).used_gib(), processes_gib(d.uuid)] for d in list_devices()})
"""


@pytest.mark.timeout(600)
def test_a_study_on_two_cards_that_is_killed_again_and_again_loses_nothing(
    cards: MachineMaker, traces: Path
) -> None:
    # As large as the one that is simulated elsewhere.
    machine = cards(Card(1, "one"), Card(1, "two"), context_mib=461)
    link_traces(machine.folder / "runs", traces)
    kills = kill_loop.run(machine.folder, seconds=40, seed=1, env=machine.env)
    outcomes = kill_loop.check(machine.folder)
    assert sum(kills.values()) >= 2
    assert outcomes.get("complete", 0) >= 4
    assert outcomes.get("out_of_memory", 0) >= 1
    assert machine.run(HELD) == {"Emulated one": [0.0, {}], "Emulated two": [0.0, {}]}
    trials = TrialFolder.all_of(machine.folder / "runs/kill/trials")
    logs = [trial.log.read_text() for trial in trials if trial.log.exists()]
    for name in ("one", "two"):  # each slot has a card of its own
        assert any(f"CUDA:0 (Emulated {name}," in log for log in logs), name
