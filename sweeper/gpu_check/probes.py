"""What is not a training: torch on the card, Ultralytics' AMP check and the sampler's cost."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Literal

from sweeper.memory.measure.nvml import Device
from sweeper.memory.measure.sampler import MemorySampler
from sweeper.script import ScriptError, run_script

SAMPLED_S = 5.0

# Touches the card as a trial does. Without the weights that it compares with, check_amp lets AMP
# pass unchecked; the first call may fetch them, so the second one is timed.
CARD_SCRIPT = """
import json, time, torch
from ultralytics import YOLO
from ultralytics.utils import WEIGHTS_DIR
from ultralytics.utils.checks import check_amp
model, weights = YOLO("yolo11n.yaml").model.to("cuda"), WEIGHTS_DIR / "yolo26n.pt"
had = weights.is_file()
passed, seconds = check_amp(model), None
has = weights.is_file()
if has:
    torch.cuda.synchronize()
    began = time.monotonic()
    check_amp(model)
    torch.cuda.synchronize()
    seconds = time.monotonic() - began
print(json.dumps([torch.version.cuda, passed, ("missing", "fetched", "here")[had + has], seconds]))
"""


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """What torch and Ultralytics say on the card.

    Attributes:
        cuda: CUDA version of torch's build.
        amp_passed: Whether Ultralytics' AMP check let AMP pass.
        amp_weights: Whether what it compares with was here.
        amp_check_s: How long it takes, seconds; None without the weights.
    """

    cuda: str
    amp_passed: bool
    amp_weights: Literal["here", "fetched", "missing"]
    amp_check_s: float | None


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


def ask_torch(device: Device) -> TorchFacts | str:
    """What `CARD_SCRIPT` finds on the device; why, where it fails, as any training would."""
    environ = {"CUDA_VISIBLE_DEVICES": device.uuid, "YOLO_AUTOINSTALL": "false"}
    try:
        return TorchFacts(*run_script(CARD_SCRIPT, environ=environ))
    except ScriptError as error:
        return str(error)


def sampler_cost(device: Device) -> SamplerCost:
    """Follow this process, which does nothing meanwhile."""
    sampler = MemorySampler(device.uuid)
    used = time.process_time()
    sampler.start(os.getpid())
    time.sleep(SAMPLED_S)
    seen = sampler.stop()
    core = (time.process_time() - used) / SAMPLED_S
    return SamplerCost(core, seen.samples / SAMPLED_S, seen.longest_gap_s, seen.error)
