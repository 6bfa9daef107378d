"""The check of a card from top to bottom: ask, train, write the report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from sweeper.config.compose import compose_settings
from sweeper.config.settings import Settings
from sweeper.doctor.checks import full_check
from sweeper.errors import MachineError
from sweeper.executors.devices import find_devices
from sweeper.executors.machine import machine_here
from sweeper.gpu_check.caps import capped_specs, read_caps
from sweeper.gpu_check.cells import Trained, build_specs, prepare, read, train
from sweeper.gpu_check.document import Check, render
from sweeper.gpu_check.emulated import train_emulated
from sweeper.gpu_check.probes import TorchFacts, ask_torch, sampler_cost
from sweeper.memory.cards import find_budget
from sweeper.memory.measure.nvml import Device, capability
from sweeper.study.provenance import describe_origin
from sweeper.study.space import Space
from sweeper.trial.spec import TrialSpec

NO_GPU = (
    "there is no GPU here to check. To see what the check does: make card, then "
    "python -m sweeper.emulator --card 8 --compute light python -m sweeper.gpu_check"
)


def check_card(overrides: list[str]) -> int:
    """Check the first card and write the report.

    Raises:
        MachineError: There is no card.
        KeyboardInterrupt: A signal stopped it.
    """
    settings = compose_settings([*overrides, "executor.slots=1"])
    device = find_devices(1).gpu
    if device is None:
        raise MachineError(NO_GPU)
    folder = Path(settings.runs_dir) / "gpu-check"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    check = ask(settings, device)
    if isinstance(check.torch, TorchFacts):
        check = try_out(check, settings, folder)
    report = folder / "report.md"
    report.write_text(render(check))
    print(render(check))
    print(f"report: {report}")
    return 1 if check.faults else 0


def ask(settings: Settings, device: Device) -> Check:
    """What doctor, driver and torch say, nothing being trained."""
    say(f"{device.name}: asking doctor, driver and torch")
    origin = describe_origin(machine_here().with_gpus([device.uuid]))
    return Check(
        device=device,
        capability=".".join(map(str, capability(device))),
        machine=origin["machine"],
        versions=origin["versions"],
        findings=full_check(Space.of(settings)),
        sampler=sampler_cost(device),
        torch=ask_torch(device),
    )


def try_out(check: Check, settings: Settings, folder: Path) -> Check:
    """Train the cells on the card, under budgets, and on an emulated one."""
    device = check.device
    specs = build_specs(settings.runs_dir, find_budget(settings.vram, device))
    say(f"training {len(specs)} cells on it")
    here = run(folder / "here", specs)
    say("training one of them under two budgets")
    capped = run(folder / "capped", capped_specs(here))
    say("training them on an emulated card")
    no_emulated = train_emulated(folder / "emulated", here, device, check.capability)
    return replace(
        check,
        here=here,
        caps=read_caps(capped),
        emulated=read(folder / "emulated"),
        no_emulated=no_emulated,
    )


def run(folder: Path, specs: list[TrialSpec]) -> Trained:
    """Train specs in a folder of their own."""
    prepare(folder, specs)
    if not train(folder):
        raise KeyboardInterrupt
    return read(folder)


def say(text: str) -> None:
    """One line about what comes next."""
    print(text, flush=True)
