"""What is not a training: the doctor's lines, the sampler's cost and Ultralytics' AMP check."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from sweeper.config.compose import compose_settings
from sweeper.doctor.checks import full_check
from sweeper.doctor.finding import Finding
from sweeper.memory.measure.nvml import Device
from sweeper.memory.measure.sampler import MemorySampler
from sweeper.script import run_script

SAMPLED_S = 5.0

# Touches the card as a trial does; prints torch's CUDA and how long check_amp takes.
CARD_SCRIPT = """
import json, time, torch
from ultralytics import YOLO
from ultralytics.utils.checks import check_amp
model = YOLO("yolo11n.yaml").model.to("cuda")
torch.cuda.synchronize()
began = time.monotonic()
passed = check_amp(model)
torch.cuda.synchronize()
print(json.dumps([torch.version.cuda, passed, time.monotonic() - began]))
"""


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """What torch and Ultralytics say on the card.

    Attributes:
        cuda: CUDA version of torch's build.
        amp_passed: Whether Ultralytics' AMP check let AMP pass.
        amp_check_s: How long that took, seconds.
    """

    cuda: str
    amp_passed: bool
    amp_check_s: float


@dataclass(frozen=True, slots=True)
class SamplerCost:
    """What following a process costs.

    Attributes:
        core: Share of a CPU core, 0 to 1.
        per_second: Readings per second.
        longest_gap_s: Longest time without one, seconds.
        error: First NVML error; empty when there was none.
    """

    core: float
    per_second: float
    longest_gap_s: float
    error: str


def ask_torch(device: Device) -> TorchFacts:
    """Run `CARD_SCRIPT` on the device.

    Raises:
        ScriptError: It failed, so no training would work either.
    """
    environ = {"CUDA_VISIBLE_DEVICES": device.uuid, "YOLO_AUTOINSTALL": "false"}
    return TorchFacts(*run_script(CARD_SCRIPT, environ=environ))


def sampler_cost(device: Device) -> SamplerCost:
    """Follow this process, which does nothing meanwhile."""
    sampler = MemorySampler(device.uuid)
    used = time.process_time()
    sampler.start(os.getpid())
    time.sleep(SAMPLED_S)
    seen = sampler.stop()
    core = (time.process_time() - used) / SAMPLED_S
    return SamplerCost(core, seen.samples / SAMPLED_S, seen.longest_gap_s, seen.error)


def ask_doctor(runs_dir: str) -> list[Finding]:
    """Every check of the doctor, for a study as it comes."""
    return full_check(compose_settings([f"runs_dir={runs_dir}"]))
