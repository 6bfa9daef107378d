"""Torch's build against the driver and the cards, without touching CUDA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.doctor.opencv import missing_library
from sweeper.memory.measure.nvml import Device, capability, versions
from sweeper.script import ScriptError, run_script

Capability = tuple[int, int]

# In a child: who starts trials must not import torch. What trials import besides comes along.
SCRIPT = """
import json, torch, torchvision, ultralytics
build = torch.__version__, torch.version.cuda, torch.version.hip, torch.cuda.get_arch_list()
print(json.dumps(build))
"""
QUIET = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "YOLO_OFFLINE": "1"}
OLDER = "Install torch for CUDA 12.6, whose kernels go back to capability 5.0: see pytorch.org."


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """What torch was built for.

    Attributes:
        version: Its own.
        cuda: Version of CUDA; None without.
        hip: Version of ROCm; None without.
        kernels: As nvcc names them: ``sm_86`` is code, ``compute_90`` is compiled on the card.
    """

    version: str
    cuda: str | None
    hip: str | None
    kernels: tuple[str, ...]


def check_torch(devices: Sequence[Device]) -> list[Finding]:
    """Import torch in a child; it must run on the devices and their driver."""
    try:
        version, cuda, hip, kernels = run_script(SCRIPT, environ=QUIET)
    except ScriptError as error:
        if missing := missing_library(error):
            return [missing]
        return [failure("torch", f"cannot be imported: {error}.", "Install again: pip install .")]
    return check_build(TorchBuild(version, cuda, hip, tuple(kernels)), devices)


def check_build(build: TorchBuild, devices: Sequence[Device]) -> list[Finding]:
    """Compare the build with what NVML says of driver and devices.

    Raises:
        NvmlUnavailable: NVML cannot answer.
    """
    if not devices:
        return [ok("torch", f"{build.version} imports, runs on the CPU")]
    if build.cuda is None:
        what = f"built for ROCm {build.hip}" if build.hip else "built without CUDA"
        remedy = "Install the CUDA build: see pytorch.org. Or hide the GPU: CUDA_VISIBLE_DEVICES=."
        return [failure("torch", f"{build.version} is {what}, but there is a GPU.", remedy)]
    return [_check_driver(build.version, build.cuda), *_check_kernels(build, devices)]


def _check_driver(version: str, cuda: str) -> Finding:
    """Within one major version of CUDA an older driver works; across majors it does not.

    Source: CUDA Compatibility, "Minor Version Compatibility".
    """
    driver = versions()
    text = f"torch {version} is built for CUDA {cuda}, driver {driver.driver} knows {driver.cuda}"
    ours, theirs = (tuple(map(int, v.split(".")[:2])) for v in (cuda, driver.cuda))
    if theirs[0] < ours[0]:
        return failure("torch", f"{text}.", "Update the driver, or install torch for its CUDA.")
    if theirs < ours:
        return warning("torch", f"{text}.", "It should run; if a kernel fails, update the driver.")
    return ok("torch", text)


def _check_kernels(build: TorchBuild, devices: Sequence[Device]) -> list[Finding]:
    found = []
    for device in devices:
        major, minor = capability(device)
        if not any(runs_on(kernel, (major, minor)) for kernel in build.kernels):
            text = (
                f"torch {build.version} has no kernels for {device.name}, compute capability "
                f"{major}.{minor}; it has {' '.join(build.kernels)}."
            )
            newest = max(map(_built_for, build.kernels), default=(0, 0))
            remedy = "Install a newer torch." if (major, minor) > newest else OLDER
            found.append(failure("torch kernels", text, remedy))
    return found


def runs_on(kernel: str, card: Capability) -> bool:
    """Whether a card of this capability runs what was compiled as ``kernel``.

    Code runs within its major version from its minor version on, the intermediate ``compute_…``
    on all later cards; what ends with ``f`` within its major version, with ``a`` only there.

    Source: CUDA C++ Programming Guide, "Compute Capability" and its feature sets.
    """
    built = _built_for(kernel)
    if kernel.endswith("a"):
        return card == built
    same_major = card[0] == built[0]
    forward = kernel.startswith("compute_") and not kernel.endswith("f")
    return card >= built and (same_major or forward)


def _built_for(kernel: str) -> Capability:
    number = re.search(r"_(\d+)", kernel)
    return divmod(int(number[1]), 10) if number else (0, 0)
