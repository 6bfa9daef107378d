"""``python -m sweeper.gpu_check``: ten minutes on a card, and a report that can be passed on.

Exit code 1 when something was found that must not be.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sweeper.config.compose import compose_settings
from sweeper.errors import MachineError, readable_errors
from sweeper.executors.devices import find_devices
from sweeper.gpu_check.caps import capped_specs, read_caps
from sweeper.gpu_check.cells import Trained, build_specs, prepare, read, train
from sweeper.gpu_check.document import Check, render
from sweeper.gpu_check.emulated import train_emulated
from sweeper.gpu_check.probes import ask_doctor, ask_torch, sampler_cost
from sweeper.memory.budget import find_budget
from sweeper.memory.measure.nvml import capability
from sweeper.script import ScriptError
from sweeper.study.provenance import describe_origin
from sweeper.trial.record import TrialSpec

NO_GPU = (
    "there is no GPU here to check. To see what the check does: make card, then "
    "python -m sweeper.emulator --card 8 --compute light python -m sweeper.gpu_check"
)


def main(overrides: list[str]) -> int:
    """Check the first card and write the report.

    Raises:
        MachineError: There is no card, or torch cannot use it.
        KeyboardInterrupt: A signal stopped it.
    """
    settings = compose_settings(overrides)
    device = find_devices(1).gpu
    if device is None:
        raise MachineError(NO_GPU)
    say(f"{device.name}: asking doctor, driver and torch")
    findings = ask_doctor(settings.runs_dir)
    try:
        torch = ask_torch(device)
    except ScriptError as error:
        raise MachineError(f"torch cannot use {device.name}: {error}.") from error
    own = ".".join(map(str, capability(device)))
    sampler = sampler_cost(device)
    folder = Path(settings.runs_dir) / "gpu-check"
    shutil.rmtree(folder, ignore_errors=True)
    specs = build_specs(settings.runs_dir, find_budget(settings.vram, device))
    say(f"training {len(specs)} cells on it")
    here = run(folder / "here", specs)
    say("training one of them under two budgets")
    capped = run(folder / "capped", capped_specs(here))
    say("training them on an emulated card")
    no_emulated = train_emulated(folder / "emulated", here, device, own)
    origin = describe_origin(None)
    check = Check(
        device=device,
        capability=own,
        torch=torch,
        machine=origin["machine"],
        versions=origin["versions"],
        findings=findings,
        here=here,
        emulated=read(folder / "emulated"),
        no_emulated=no_emulated,
        caps=read_caps(capped),
        sampler=sampler,
    )
    report = folder / "report.md"
    report.write_text(render(check))
    print(render(check))
    print(f"report: {report}")
    return 1 if check.faults else 0


def run(folder: Path, specs: list[TrialSpec]) -> Trained:
    """Train specs in a folder of their own."""
    prepare(folder, specs)
    if not train(folder):
        raise KeyboardInterrupt
    return read(folder)


def say(text: str) -> None:
    """One line about what comes next."""
    print(text, flush=True)


if __name__ == "__main__":
    with readable_errors():
        sys.exit(main(sys.argv[1:]))
