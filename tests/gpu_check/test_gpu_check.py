"""The check for a GPU, on an emulated one, and its report."""

import getpass
import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.doctor.finding import failure, ok
from sweeper.emulator.machine import Card
from sweeper.gpu_check.caps import Cap, capped_specs
from sweeper.gpu_check.document import Check, render
from sweeper.gpu_check.probes import SamplerCost, TorchFacts
from sweeper.memory.measure.nvml import Device
from sweeper.trial.readings import MEASURED, MemoryReading
from sweeper.trial.record import Outcome, TrialResult

# One small cell, and of the doctor, who has tests of his own, only what he says of the cards; a
# script, because its processes import it again.
SMALL = """
import sys
from sweeper.doctor import gpu
from sweeper.gpu_check import cells, check, probes
check.full_check = lambda space: gpu.check_memory(
    space.cells[0].settings, gpu.check_nvml(space.cells[0].settings)[1]
)
probes.SAMPLED_S = 0.5
cells.MODELS, cells.CELLS = ("yolo11n",), ((4, 1, True),)
cells.SETTINGS = (*cells.SETTINGS, "data.imgsz=96", "data.digits.train=8", "data.digits.val=8")
if __name__ == "__main__":
    sys.exit(check.check_card(sys.argv[1:]))
"""


@pytest.mark.timeout(600)
def test_the_check_runs_on_a_card_and_its_report_can_be_passed_on(cards) -> None:
    machine = cards(Card(6, capability="8.9"), Card(8), compute="light")
    (machine.folder / "small.py").write_text(SMALL)
    # As a display and a program on a card that is not checked: no fault of this card.
    with machine.neighbour(1.0), machine.neighbour(7.0, card=1):
        done = machine.command("small.py", "vram.budget_gib=4.5")
    assert done.code == 0, done.out + done.err
    report = (machine.folder / "runs/gpu-check/report.md").read_text()
    assert report.startswith("# GPU check: Emulated 6 GB, 6.00 GiB, capability 8.9\n")
    assert "- nothing that must not be" in report and "Peaks on this card are *emulated*" in report
    assert "Emulated 6 GB: 5.00 GiB free, budget 4.50 GiB" in report
    assert "- AMP was not checked: the weights" in report  # the tests have no connection
    # Two cards of the same size, on which the same was trained: not a byte may differ.
    assert "emulated reserved memory is off by 0.0 % in the median of 1 cell" in report
    budgets = [line for line in report.splitlines() if line.startswith("| yolo11n b4×a1 amp")][1:]
    assert [line.split("|")[4].strip() for line in budgets] == ["complete", "out_of_memory"]
    private = (str(machine.folder), str(Path.home()), platform.node(), sys.prefix)
    assert not [word for word in private if word in report]
    assert getpass.getuser() == "root" or getpass.getuser() not in report


def test_where_torch_cannot_use_the_card_the_report_says_what_is_known(card) -> None:
    machine = card(gib=6, driver="570.124.06", cuda="12.8")
    (machine.folder / "small.py").write_text(SMALL)
    done = machine.command("small.py")
    assert done.code == 1 and "Traceback" not in done.err
    report = (machine.folder / "runs/gpu-check/report.md").read_text()
    assert "- nothing was trained: torch cannot use the card: " in report
    assert "| gpu memory | ok " in report and "the sampler takes" in report
    assert "## Cells" not in report and "## Budgets" not in report


WITH_WEIGHTS = """
from pathlib import Path
import ultralytics
from sweeper.gpu_check.probes import CARD_SCRIPT
ultralytics.utils.WEIGHTS_DIR = Path()
ultralytics.YOLO("yolo26n.yaml").save("yolo26n.pt")
exec(CARD_SCRIPT)
"""


def test_the_amp_check_is_timed_where_it_has_weights_to_compare_with(card) -> None:
    done = card(gib=6, compute="light").attempt(WITH_WEIGHTS)
    assert done.code == 0, done.err
    facts = TorchFacts(*json.loads(done.out.splitlines()[-1]))
    assert facts.amp_passed and facts.amp_weights == "here"
    assert facts.amp_check_s is not None and facts.amp_check_s > 0


def test_without_a_gpu_it_says_how_to_try_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.gpu_check"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "there is no GPU here to check" in done.stderr


@pytest.fixture
def check(make_spec) -> Check:
    """A card on which all is well."""
    reading = MemoryReading(
        peak_gib=1.5,
        source=MEASURED,
        method="process",
        allocated_gib=0.9,
        reserved_gib=1.0,
        context_gib=0.5,
        alloc_retries=0,
        nvml_peak_gib=1.5,
    )
    spec = make_spec(predicted=replace(reading, reserved_gib=1.1))
    here = [(spec, TrialResult(Outcome.COMPLETE, memory=reading, wall_time_s=9.0))]
    lighter = TrialResult(Outcome.COMPLETE, memory=replace(reading, reserved_gib=0.96))
    return Check(
        device=Device(0, "GPU-1", "NVIDIA GeForce RTX 2070", 8.0),
        capability="7.5",
        torch=TorchFacts("13.0", True, "here", 2.0),
        machine="a processor",
        versions="torch 2",
        findings=[ok("gpu", "RTX 2070"), ok("dataset", "/srv/anna/cats/data.yaml is there")],
        here=here,
        emulated=[(spec, lighter)],
        no_emulated="",
        caps=[Cap("b8×a1", 1.0, Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_MEMORY, 0.99)],
        sampler=SamplerCost(0.006, 50.0, 0.02, ""),
    )


def test_the_report_compares_prediction_emulation_and_reading(check: Check) -> None:
    report = render(check)
    assert "predicted reserved memory is off by 10.0 % in the median of 1 cell" in report
    assert "emulated reserved memory is off by 4.0 % in the median of 1 cell, -4.0 %" in report
    assert "Peaks on this card are *measured*" in report and "anna" not in report
    assert "check_amp takes 2.0 s: AMP passed" in report
    fetched = replace(check, torch=replace(check.torch, amp_weights="fetched"))
    assert "check_amp takes 2.0 s, its weights fetched before: AMP passed" in render(fetched)


def test_a_peak_above_the_budget_a_crash_and_a_failed_check_are_faults(check: Check) -> None:
    (spec, result), *_ = check.here
    crashed = replace(result, outcome=Outcome.CRASHED, reason="/srv/anna/x/log.txt says why")
    broken = replace(
        check,
        here=[(spec, crashed)],
        caps=[replace(check.caps[0], peak_gib=1.2)],
        findings=[failure("torch kernels", "none for this card.", "Install another torch.")],
    )
    assert not check.faults and len(broken.faults) == 3
    assert "…/log.txt says why" in render(broken) and "anna" not in render(broken)
    assert "| torch kernels | failure | none for this card. Install another torch." in render(
        broken
    )


def test_neither_home_nor_what_names_files_is_in_the_report(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/Anna Smith")
    (spec, result), *_ = check.here
    reason = "/home/Anna Smith/cats/log.txt says why, in /home/Anna Smith"
    report = render(
        replace(
            check,
            here=[(spec, replace(result, outcome=Outcome.CRASHED, reason=reason))],
            findings=[failure("disk", "runs_dir=/srv/anna cannot be written.", "")],
        )
    )
    assert "the doctor: disk: python -m sweeper.doctor says what" in report
    assert "crashed: …/log.txt says why, in …" in report
    assert "anna" not in report.lower() and "smith" not in report.lower()


def test_the_second_budget_lies_below_what_the_cell_holds_at_once(check: Check) -> None:
    enough, short = capped_specs(check.here)
    assert enough.limit_gib == pytest.approx(1.55) and short.limit_gib == pytest.approx(0.5 + 0.81)
    assert capped_specs([]) == []
