"""The executor on a GPU that the stub driver pretends: the child's own CUDA part is replaced."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.trial.folder import TrialFolder
from tests.memory.stub_driver import Driver

# In place of training: use device memory as the scenario says, then write a result.
FAKE = """
import json, os, time
from pathlib import Path
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import ChildFacts, Ending, MemoryReading
GPU = "device GPU-a 24576 {} NVIDIA GeForce RTX 3090\\n"
def child(folder, device, connection):
    os.setsid()
    for mib in json.loads(os.environ["FAKE_USE"]):
        path = os.environ["NVML_STUB"]
        Path(path + ".new").write_text(
            GPU.format(mib) + f"process GPU-a {os.getpid()} C {mib}\\n")
        os.replace(path + ".new", path)
        time.sleep(0.3)
    reading = MemoryReading(2.0, "measured", "allocator", reserved_gib=1.5, context_gib=0.5)
    facts = ChildFacts(Ending.COMPLETE, iterations=1, memory=reading)
    TrialFolder(Path(folder)).write_child(facts)
"""

RUN = """
from pathlib import Path
from sweeper.executors import local
from sweeper.study.judge import judge
from sweeper.trial.folder import TrialFolder
import fake
class Watcher:
    def on_progress(self, done, total): pass
    def on_epoch(self, report): return False
if __name__ == "__main__":
    local._child = fake.child
    executor = local.LocalExecutor(["GPU-a"])
    folder = TrialFolder(Path("trial"))
    facts = executor.submit(folder, Watcher()).result()
    result = judge(folder.read_spec(), facts)
    executor.close()
    answer(outcome=result.outcome.value, reason=result.reason, peak=result.memory.peak_gib,
           method=result.memory.method, device=facts.device)
"""

GPU = "device GPU-a 24576 1024 NVIDIA GeForce RTX 3090\n"


def trial(
    driver: Driver,
    make_spec,
    use_mib: list[int],
    budget_gib: float,
) -> dict[str, Any]:
    (driver.folder / "fake.py").write_text(FAKE)
    spec = make_spec(limit_gib=budget_gib, context_gib=0.5)
    TrialFolder(driver.folder / "trial").prepare(spec)
    return driver.run(RUN, GPU, FAKE_USE=str(use_mib))


def test_the_larger_view_is_the_peak(driver: Driver, make_spec) -> None:
    seen = trial(driver, make_spec, [1024, 3072, 512], budget_gib=4.0)
    assert seen == {
        "outcome": "complete",
        "reason": "",
        "peak": 3.0,
        "method": "process",
        "device": "GPU-a",
    }


def test_a_peak_over_the_budget_is_infeasible_though_nothing_crashed(
    driver: Driver,
    make_spec,
) -> None:
    seen = trial(driver, make_spec, [1024, 4160], budget_gib=4.0)
    assert (seen["outcome"], seen["peak"]) == ("over_budget", 4.0625)
    assert "0.06 GiB over the budget" in seen["reason"]


def test_the_watchdog_stops_a_trial_that_passes_the_budget(
    driver: Driver,
    make_spec,
) -> None:
    seen = trial(driver, make_spec, [1024, 8192, *[1024] * 200], budget_gib=4.0)
    assert (seen["outcome"], seen["peak"]) == ("over_budget", 8.0)
    assert "stopped while running: NVML saw 8.00 GiB, the budget is 4.00 GiB" in seen["reason"]


FIND = """
from dataclasses import asdict
from sweeper.errors import SettingsError
from sweeper.executors.devices import find_devices
try:
    found = find_devices({slots!r})
    answer(names=found.names, gpu=found.gpu and found.gpu.uuid, notes=found.notes)
except SettingsError as error:
    answer(error=str(error))
"""

TWO = (
    "device GPU-a 24576 0 NVIDIA GeForce RTX 3090\ndevice GPU-b 16384 0 NVIDIA GeForce RTX 4080\n"
)


@pytest.mark.parametrize(
    ("slots", "scenario", "visible", "expected"),
    [
        ("auto", TWO, None, {"names": ["GPU-a", "GPU-b"], "gpu": "GPU-b", "notes": []}),
        (1, TWO, "GPU-b", {"names": ["GPU-b"], "gpu": "GPU-b", "notes": []}),
        ("auto", TWO, "", {"names": ["cpu"], "gpu": None, "notes": []}),
        (2, "init 9\n", None, {"names": ["cpu", "cpu"], "gpu": None, "notes": []}),
    ],
)
def test_slots_are_the_visible_gpus_by_uuid_else_the_cpu(
    driver: Driver,
    slots,
    scenario: str,
    visible: str | None,
    expected,
) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert driver.run(FIND.format(slots=slots), scenario, **environ) == expected


def test_two_trials_on_one_gpu_are_refused(driver: Driver) -> None:
    seen = driver.run(FIND.format(slots=3), TWO)
    assert "executor.slots must not exceed the 2 visible GPU(s) but got 3" in seen["error"]


def test_a_driver_that_refuses_is_said_not_hidden(driver: Driver) -> None:
    seen = driver.run(FIND.format(slots="auto"), "init 4\n")
    assert seen["names"] == ["cpu"] and "this user may not ask" in seen["notes"][0]
