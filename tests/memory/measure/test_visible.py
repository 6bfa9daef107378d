"""CUDA_VISIBLE_DEVICES, rule by rule."""

from __future__ import annotations

import pytest

from sweeper.memory.measure.nvml import Device
from sweeper.memory.measure.visible import visible_devices

A = Device(0, "GPU-aa11", "NVIDIA GeForce RTX 3090", 24.0)
B = Device(1, "GPU-aa22", "NVIDIA GeForce RTX 3090", 24.0)
ONE = Device(2, "MIG-one", "NVIDIA A100 MIG 1g.5gb", 4.75)
TWO = Device(2, "MIG-two", "NVIDIA A100 MIG 2g.10gb", 9.5)
ALL = (A, B, ONE, TWO)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1,0", (B, A)),
        ("1, 0", (B, A)),
        ("0,9,1", (A,)),  # the first invalid entry ends the list
        ("0,-1,1", (A,)),
        ("-1", ()),
        ("", ()),
        ("none", ()),
        ("0,0", ()),  # a device named twice hides all
        ("1gpu", (B,)),  # CUDA reads numbers with strtoul
        ("GPU-aa22", (B,)),
        ("GPU-aa2", (B,)),
        ("GPU-aa", ()),  # an ambiguous prefix is invalid
        ("GPU-aa11,GPU-zz,GPU-aa22", (A,)),
        ("GPU-aa1,GPU-aa11", ()),
        ("MIG-two", (TWO,)),
        ("MIG-two,MIG-one", (TWO, ONE)),
        ("2", (ONE,)),  # the index of a GPU in MIG mode means its first instance
    ],
)
def test_the_list_is_read_as_cuda_reads_it(value: str, expected: tuple[Device, ...]) -> None:
    assert visible_devices(ALL, {"CUDA_VISIBLE_DEVICES": value}).devices == expected


def test_without_the_variable_every_device_is_visible() -> None:
    assert visible_devices(ALL, {}).devices == ALL


@pytest.mark.parametrize(
    ("devices", "environ", "uncertain"),
    [
        (ALL, {"CUDA_VISIBLE_DEVICES": "0"}, True),
        (ALL, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        (ALL, {"CUDA_VISIBLE_DEVICES": "GPU-aa11"}, False),
        (ALL, {}, False),
        ((A, B), {"CUDA_VISIBLE_DEVICES": "1"}, False),
    ],
)
def test_indices_among_different_gpus_are_called_uncertain(
    devices: tuple[Device, ...], environ: dict[str, str], uncertain: bool
) -> None:
    assert ("PCI_BUS_ID" in visible_devices(devices, environ).note) is uncertain


def test_a_uuid_names_exactly_its_device() -> None:
    for device in ALL:
        pinned = {"CUDA_VISIBLE_DEVICES": device.uuid}
        assert visible_devices(ALL, pinned).devices == (device,)
