"""The project on an emulated card: the whole measured path, under its own name."""

import json
import os
import re
import subprocess
import sys

import pytest

from sweeper.trial.folder import TrialFolder
from tests.forks import ROOT

# Trains the cell twice: with room, then with less than it took.
RUN = """
import json
from dataclasses import replace
from pathlib import Path
from sweeper.executors.devices import find_devices
from sweeper.executors.local import LocalExecutor
from sweeper.study.judge import judge
from sweeper.trial.folder import TrialFolder
class Watcher:
    def on_progress(self, done, total): pass
    def on_epoch(self, report): return False
def train(executor, spec, name):
    folder = TrialFolder(Path(name))
    folder.prepare(spec)
    facts = executor.submit(folder, Watcher()).result()
    result = judge(spec, facts)
    print(json.dumps({"outcome": result.outcome, "reason": result.reason, "device": facts.device,
                      "source": result.memory.source, "nvml": result.memory.nvml_peak_gib,
                      "reserved": result.memory.reserved_gib, "peak": result.memory.peak_gib,
                      "context": result.memory.context_gib, "amp": result.amp_dtype,
                      "map50": result.map50, "sampled": facts.sampled.method}))
    return result.memory.peak_gib
if __name__ == "__main__":
    executor = LocalExecutor(find_devices("auto").names)
    spec = TrialFolder(Path("spec")).read_spec()
    peak_gib = train(executor, spec, "fits")
    train(executor, replace(spec, limit_gib=peak_gib - 0.02), "short")
    executor.close()
"""


def test_a_trial_trains_within_the_cap_and_runs_out_of_memory_at_it(card, make_spec) -> None:
    machine = card(gib=4)
    spec = make_spec(amp=True, epochs=1, limit_gib=2.0, context_gib=0.1, imgsz=96)
    TrialFolder(machine.folder / "spec").prepare(spec)
    (machine.folder / "run.py").write_text(RUN)
    done = machine.command("run.py")
    assert done.code == 0, done.err
    fits, short = map(json.loads, done.out.splitlines())

    assert (fits["outcome"], fits["device"]) == ("complete", machine.uuids[0])
    assert (fits["amp"], fits["source"], fits["sampled"]) == ("float16", "emulated", "process")
    assert fits["context"] == 300 / 1024
    assert fits["peak"] == fits["reserved"] + fits["context"] == fits["nvml"]

    assert (short["outcome"], short["source"]) == ("out_of_memory", "emulated")
    assert short["peak"] <= fits["peak"] - 0.02
    assert re.fullmatch(
        r"b4×a1 amp at 96 px: CUDA out of memory: tried to allocate [\d.]+ MiB\.", short["reason"]
    )


CROWDED = """
from pathlib import Path
from types import SimpleNamespace
from sweeper.study.judge import judge
from sweeper.training.run import run_trial
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import TrialFacts
spec = TrialFolder(Path("spec")).read_spec()
link = SimpleNamespace(send_epoch=print, send_progress=print)
uuid = "GPU-emulated-0000-0000-0000-000000000000"
facts = run_trial(spec, TrialFolder(Path("trial")), uuid, link)
result = judge(spec, TrialFacts(child=facts))
answer(outcome=result.outcome, reason=result.reason)
"""


@pytest.mark.parametrize(
    ("neighbour_gib", "said"),
    [(3.9, "no room for a CUDA context"), (3.69, "other processes held 3.69 of the device's")],
)
def test_a_neighbour_that_took_the_budget_disturbs(
    card, make_spec, neighbour_gib: float, said: str
) -> None:
    machine = card(gib=4)
    TrialFolder(machine.folder / "spec").prepare(make_spec(limit_gib=2.0, context_gib=0.1))
    with machine.neighbour(neighbour_gib):
        seen = machine.run(CROWDED)
    assert seen["outcome"] == "disturbed"
    assert "out of memory" in seen["reason"] and said in seen["reason"]


# Begins again before its second line is reached.
GO = """
from sweeper.config.compose import compose_settings
from sweeper.doctor.gpu import check_nvml
from sweeper.executors.emulated import emulate
settings = compose_settings(["vram=t4", "vram.emulated=true", "executor.slots=2"])
emulate(settings.vram, settings.executor)
print(check_nvml(settings)[0].text)
"""


def run_here(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of this machine, which hides whatever GPU it has."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environ)


def test_a_command_begins_again_on_the_cards_of_its_settings(card_server) -> None:
    assert run_here("-c", GO).stdout == "Emulated t4 15.0 GiB, Emulated t4 15.0 GiB\n"


def test_the_module_runs_any_command_on_cards() -> None:
    words = ("-m", "sweeper.emulator", "--card", "8:7.5:RTX 2070", "--pids", "wsl")
    done = run_here(*words, "sh", "-c", "echo $EMULATOR_CARDS $EMULATOR_PIDS")
    assert done.stdout == "8192:7.5:Emulated RTX 2070 wsl\n"


@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_single_runs_and_studies_look_for_their_cards_first(multirun: list[str]) -> None:
    done = run_here("-m", "sweeper", *multirun, "executor=debug", "vram.emulated=true")
    assert done.returncode == 1 and "Leave out vram.emulated=true" in done.stderr
