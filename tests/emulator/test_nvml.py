"""What NVML says of an emulated machine, through the project's own door to it."""

import json

import pytest

from sweeper.emulator.machine import Card

LIST = """
import json, sys
from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
from sweeper.memory.measure.nvml import list_devices, versions
devices = list_devices()
print(json.dumps({
    "devices": [[d.uuid, d.name, d.total_gib] for d in devices],
    "driver": [versions().driver, versions().cuda],
    "used": [DeviceUsage(d.uuid).used_gib() for d in devices],
    "processes": [processes_gib(d.uuid) for d in devices],
}))
"""


def test_every_card_is_listed_with_its_own_figures(cards) -> None:
    machine = cards(Card(24), Card(8), driver="590.10", cuda="13.1", driver_mib=512)
    with machine.neighbour(3.0, card=1) as pid:
        seen = json.loads(machine.command("-c", LIST).out)
    first, second = machine.uuids
    assert seen == {
        "devices": [[first, "Emulated 24 GB", 24.0], [second, "Emulated 8 GB", 8.0]],
        "driver": ["590.10", "13.1"],
        "used": [0.5, 3.5],
        "processes": [{}, {str(pid): 3.0}],
    }


@pytest.mark.parametrize(
    ("pids", "listed"),
    [
        ("container", lambda pid: {}),
        ("zero", lambda pid: {str(pid): None}),
        ("host", lambda pid: {str(pid + 2**22): 2.0}),
        ("wsl", lambda pid: {str(pid): None}),
    ],
)
def test_pids_are_hidden_as_in_containers_and_under_wsl(card, pids: str, listed) -> None:
    machine = card(pids=pids)
    with machine.neighbour(2.0) as pid:
        seen = machine.run(LIST)
    assert seen == {**seen, "used": [2.0], "processes": [listed(pid)]}


def test_a_neighbour_takes_memory_until_it_dies(card) -> None:
    machine = card(gib=4)
    script = """
        try:
            torch.empty(2 * GIB, dtype=torch.uint8, device="cuda")
            answer(fits=True)
        except torch.OutOfMemoryError:
            answer(fits=False)
    """
    with machine.neighbour(2.5):
        assert machine.run(script) == {"fits": False}
    assert machine.run(script) == {"fits": True}
    assert card(gib=4).run(script) == {"fits": True}  # a machine of its own


def test_what_a_killed_process_held_is_free_before_its_parent_has_looked(card) -> None:
    seen = card(gib=4).run("""
        import ctypes, signal, time
        pid = os.fork()
        if pid == 0:
            torch.empty(2 * GIB, dtype=torch.uint8, device="cuda")
            os.kill(os.getpid(), signal.SIGKILL)
        while open(f"/proc/{pid}/stat").read().split()[2] != "Z":
            time.sleep(0.01)
        answer(free=torch.cuda.mem_get_info()[0] / GIB)
    """)
    assert seen["free"] == 4 - 300 / 1024
