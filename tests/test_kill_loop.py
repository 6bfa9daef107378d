from pathlib import Path

import pytest

from tests import kill_loop
from tests.conftest import MachineMaker, link_traces

HELD = """
from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
uuid = "GPU-emulated-0000-0000-0000-000000000000"
answer(used=DeviceUsage(uuid).used_gib(), processes=processes_gib(uuid))
"""


@pytest.mark.timeout(600)
def test_a_study_that_is_killed_again_and_again_loses_nothing(
    card: MachineMaker, traces: Path
) -> None:
    machine = card(gib=1, context_mib=461)  # the one that is simulated elsewhere
    link_traces(machine.folder / "runs", traces)
    kills = kill_loop.run(machine.folder, seconds=40, seed=1, env=machine.env)
    outcomes = kill_loop.check(machine.folder)
    assert sum(kills.values()) >= 2
    assert outcomes.get("complete", 0) >= 4
    assert outcomes.get("out_of_memory", 0) >= 1
    assert machine.run(HELD) == {"used": 0.0, "processes": {}}
