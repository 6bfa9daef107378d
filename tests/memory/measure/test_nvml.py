"""The real pynvml against a stub of libnvidia-ml.so.1: devices, memory and failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.memory.stub_driver import Driver

TWO_GPUS = """
device GPU-aaaa 24576 300 NVIDIA GeForce RTX 3090
device GPU-bbbb 15360 100 Tesla T4
"""

LIST = """
from dataclasses import asdict
from sweeper.memory.measure import nvml
answer(devices=[asdict(device) for device in nvml.list_devices()])
"""

REASON = """
from sweeper.memory.measure import nvml
from sweeper.memory.measure.nvml import list_devices, versions
from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
try:
    {call}
except nvml.NvmlUnavailable as error:
    answer(reason=error.reason, text=str(error))
else:
    answer(reason="none", text="")
"""


def test_a_machine_without_gpus_lists_none(driver: Driver) -> None:
    assert driver.run(LIST, "")["devices"] == []


def test_mig_instances_replace_their_gpu(driver: Driver) -> None:
    mig = "mig 1 MIG-one 4864 0 MIG 1g.5gb\nmig 1 MIG-two 9728 0 MIG 2g.10gb\n"
    devices = driver.run(LIST, TWO_GPUS + mig)["devices"]
    assert [(d["index"], d["uuid"], d["total_gib"]) for d in devices] == [
        (0, "GPU-aaaa", 24.0),
        (1, "MIG-one", 4.75),
        (1, "MIG-two", 9.5),
    ]


def test_a_gpu_in_mig_mode_without_instances_is_no_device(driver: Driver) -> None:
    devices = driver.run(LIST, TWO_GPUS + "mig_mode 1\n")["devices"]
    assert [device["uuid"] for device in devices] == ["GPU-aaaa"]


def test_a_lost_gpu_does_not_hide_the_others(driver: Driver) -> None:
    devices = driver.run(LIST, TWO_GPUS + "error GPU-aaaa memory 15\n")["devices"]
    assert [device["uuid"] for device in devices] == ["GPU-bbbb"]


def test_memory_is_read_by_device_and_by_process(driver: Driver) -> None:
    script = """
    from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
    device = DeviceUsage("GPU-aaaa")
    answer(used=device.used_gib(), compute=device.processes_gib(), all=processes_gib("GPU-aaaa"))
    """
    processes = """
    process GPU-aaaa 10 C 1024
    process GPU-aaaa 10 G 1024
    process GPU-aaaa 11 C na
    process GPU-aaaa 12 G 512
    process GPU-bbbb 13 C 999
    """
    seen = driver.run(script, TWO_GPUS + processes.replace("    ", ""))
    assert seen["used"] == 300 / 1024
    assert seen["compute"] == {"10": 1.0}
    assert seen["all"] == {"10": 1.0, "11": None, "12": 0.5}


def test_a_mig_instance_has_no_graphics_list(driver: Driver) -> None:
    script = """
    from sweeper.memory.measure.device_usage import processes_gib
    answer(processes=processes_gib("MIG-one"))
    """
    mig = "mig 0 MIG-one 4864 0 MIG 1g.5gb\nprocess MIG-one 10 C 256\n"
    assert driver.run(script, TWO_GPUS + mig)["processes"] == {"10": 0.25}


@pytest.mark.parametrize(
    ("scenario", "call", "reason"),
    [
        ("init 9", "list_devices()", "driver_not_loaded"),
        ("init 18", "versions()", "driver_mismatch"),
        ("init 999", "list_devices()", "other"),
        (TWO_GPUS + "error GPU-aaaa compute 4", "processes_gib('GPU-aaaa')", "no_permission"),
        (
            TWO_GPUS + "error GPU-aaaa compute 4",
            "DeviceUsage('GPU-aaaa').processes_gib()",
            "no_permission",
        ),
        (TWO_GPUS + "error GPU-aaaa memory 15", "DeviceUsage('GPU-aaaa').used_gib()", "gpu_lost"),
        (TWO_GPUS, "DeviceUsage('GPU-none')", "other"),
        ("device GPU-a 100 0 X\nerror GPU-a memory 15", "list_devices()", "gpu_lost"),
        (TWO_GPUS, "list_devices()", "none"),
    ],
)
def test_each_failure_has_a_reason(driver: Driver, scenario: str, call: str, reason: str) -> None:
    assert driver.run(REASON.format(call=call), scenario)["reason"] == reason


def test_a_missing_library_is_named_with_its_remedy(driver: Driver, tmp_path: Path) -> None:
    seen = driver.run(REASON.format(call="list_devices()"), LD_LIBRARY_PATH=str(tmp_path))
    assert seen["reason"] == "no_library"
    assert "Install the NVIDIA driver" in seen["text"]


def test_a_missing_python_module_is_named(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("raise ImportError")
    seen = driver.run(REASON.format(call="list_devices()"))
    assert seen["reason"] == "not_installed"


def test_a_driver_that_comes_up_later_is_found(driver: Driver) -> None:
    script = """
    from sweeper.memory.measure import nvml
    reasons = []
    for text in ("init 9", "device GPU-a 1024 0 X"):
        scenario(text)
        try:
            reasons.append(len(nvml.list_devices()))
        except nvml.NvmlUnavailable as error:
            reasons.append(error.reason)
    answer(reasons=reasons)
    """
    assert driver.run(script)["reasons"] == ["driver_not_loaded", 1]


def test_importing_the_door_loads_no_library(driver: Driver) -> None:
    script = """
    import sweeper.memory.measure.sampler, sweeper.memory.measure.visible
    import sweeper.memory.measure.meter, sweeper.memory.budget
    answer(loaded=sorted({"pynvml", "torch"} & set(sys.modules)))
    """
    assert driver.run(script)["loaded"] == []
