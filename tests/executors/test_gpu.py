"""The executor on emulated cards: pinning, the watchdog, AMP, parts, and what a kill leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweeper.emulator.machine import Card
from sweeper.errors import SettingsError
from sweeper.executors import devices, machine
from sweeper.memory.measure.nvml import NvmlUnavailable
from sweeper.trial.folder import TrialFolder
from sweeper.trial.spec import TrialSpec

FIND = """
from sweeper.errors import SettingsError
from sweeper.executors.devices import find_devices
found = find_devices({slots!r})
answer(names=found.names, gpu=found.gpu and found.gpu.uuid, notes=found.notes)
"""
TWO = (Card(24, "RTX 3090"), Card(16, "RTX 4080"))
FIRST, SECOND = (f"GPU-emulated-0000-0000-0000-{i:012}" for i in range(2))


@pytest.mark.parametrize(
    ("slots", "visible", "names", "smallest"),
    [
        ("auto", None, [FIRST, SECOND], SECOND),
        (1, None, [FIRST], FIRST),
        (1, SECOND, [SECOND], SECOND),
        ("auto", "", ["cpu"], None),
        (2, "", ["cpu", "cpu"], None),
    ],
)
def test_slots_are_the_visible_gpus_by_uuid_else_the_cpu(
    cards, slots: int | str, visible: str | None, names: list[str], smallest: str | None
) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = cards(*TWO).run(FIND.format(slots=slots), **environ)
    assert found == {"names": names, "gpu": smallest, "notes": []}


def test_two_trials_on_one_gpu_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"2 visible .* but got 3"):
        devices.used_devices([object(), object()], 3)


def test_a_driver_that_refuses_is_said_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NvmlUnavailable("no_permission")

    monkeypatch.setattr(machine, "list_devices", refuse)
    found = devices.find_devices("auto")
    assert found.names == ("cpu",) and "this user may not ask" in found.notes[0]


# Children are forked from the script, which has torch imported: the fork server would import it
# once more. `run` judges the trials of some folders, all at once, and says who holds memory then.
EXECUTE = """
import multiprocessing, re, signal, time
from pathlib import Path
from sweeper.executors import local, supervise
from sweeper.executors.devices import find_devices
from sweeper.memory.measure.device_usage import DeviceUsage, processes_gib
from sweeper.memory.measure.nvml import list_devices
from sweeper.study.judge import judge
from sweeper.training import run as training
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import ChildFacts, Ending

class Watcher:
    def on_progress(self, done, total): pass
    def on_epoch(self, report): return False

def run(*names, watcher=Watcher()):
    supervise.warm_up = lambda: None
    executor = local.LocalExecutor(find_devices("auto").names)
    executor._supervisor._context = multiprocessing.get_context("fork")
    folders = [TrialFolder(Path(name)) for name in names]
    running = [executor.submit(folder, watcher) for folder in folders]
    facts = [future.result() for future in running]
    executor.close()
    uuids = [d.uuid for d in list_devices()]
    left = {uuid: [DeviceUsage(uuid).used_gib(), processes_gib(uuid)] for uuid in uuids}
    return {"trials": [summary(*pair) for pair in zip(folders, facts)], "left": left}

def summary(folder, facts):
    result = judge(folder.read_spec(), facts)
    memory = result.memory
    return {"outcome": result.outcome, "reason": result.reason, "device": facts.device,
            "peak": memory and memory.peak_gib, "settings": result.settings,
            "epochs": [[e.epoch, e.train_loss, e.val_loss, e.map50] for e in result.epochs]}
"""

# In place of Ultralytics: so much memory as the spec's image side says, in MiB.
TAKES = """
def child(folder, device, connection):
    os.setsid()
    folder = TrialFolder(Path(folder))
    spec = folder.read_spec()
    meter = training.DeviceMeter(spec, device)
    meter.start()
    block = torch.ones(spec.imgsz * MIB, dtype=torch.uint8, device="cuda")
    time.sleep(0.3)
    pinned = str(torch.cuda.get_device_properties(0).uuid)
    folder.write_child(ChildFacts(Ending.COMPLETE, memory=meter.read(), settings={"uuid": pinned}))
    os._exit(0)
supervise._child = child
"""


def execute(
    machine, specs: Sequence[TrialSpec], child: str = "", call: str = "run({names})"
) -> dict[str, Any]:
    names = [str(i) for i in range(len(specs))]
    for name, spec in zip(names, specs, strict=True):
        TrialFolder(machine.folder / name).prepare(spec)
    listed = ", ".join(map(repr, names))
    return machine.run(EXECUTE + child + f"answer(**{call.format(names=listed)})")


def test_each_slot_has_its_card_and_counts_its_own_memory(cards, make_spec) -> None:
    machine = cards(*TWO)
    specs = [make_spec(imgsz=mib, limit_gib=8.0, context_gib=0.1) for mib in (512, 1024)]
    with machine.neighbour(3.0, card=0) as pid:
        seen = execute(machine, specs, TAKES)
    assert {t["outcome"] for t in seen["trials"]} == {"complete"}, seen
    assert {t["device"] for t in seen["trials"]} == {FIRST, SECOND}
    for trial in seen["trials"]:
        assert trial["settings"]["uuid"][-2:] == trial["device"][-2:]
    context_gib = 300 / 1024
    assert sorted(t["peak"] for t in seen["trials"]) == [0.5 + context_gib, 1.0 + context_gib]
    assert seen["left"] == {FIRST: [3.0, {str(pid): 3.0}], SECOND: [0.0, {}]}


# Beyond torch's allocator, which is capped, and long enough for the watchdog to look.
LEAKS = TAKES.replace(
    "time.sleep(0.3)",
    "import ctypes; leak = ctypes.c_void_p()\n"
    "    ctypes.CDLL(None).cudaMalloc(ctypes.byref(leak), ctypes.c_size_t(3 * GIB))\n"
    "    time.sleep(60)",
)


def test_the_watchdog_stops_what_passes_the_budget_and_its_memory_is_free(card, make_spec) -> None:
    seen = execute(card(), [make_spec(imgsz=512, limit_gib=2.0, context_gib=0.1)], LEAKS)
    (trial,) = seen["trials"]
    assert trial["outcome"] == "over_budget"
    assert "stopped while running: NVML saw 3.79 GiB, the budget is 2.00" in trial["reason"]
    assert seen["left"] == {FIRST: [0.0, {}]}


# Beside the second trial a neighbour comes, whose memory nobody can tell from the trial's.
JOINED = TAKES.replace(
    "time.sleep(0.3)",
    """if spec.number:
        import subprocess
        from tests.cards import NEIGHBOUR
        words = [sys.executable, "-c", NEIGHBOUR, "0", str(3 * GIB)]
        other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        other.stdout.readline()
    time.sleep(0.3)""",
)


@pytest.mark.parametrize("pids", ["container", "zero", "host", "wsl"])
def test_where_pids_are_hidden_the_allocator_judges_and_nobody_is_stopped(
    card, make_spec, pids: str
) -> None:
    specs = [make_spec(number=n, imgsz=512, limit_gib=2.0, context_gib=0.25) for n in (0, 1)]
    alone, joined = execute(card(pids=pids), specs, JOINED)["trials"]
    assert (alone["outcome"], joined["outcome"]) == ("complete", "disturbed"), joined["reason"]
    assert alone["peak"] == joined["peak"] == 0.75
    assert "the GPU's use grew by 4.09 GiB, over the budget of 2.00" in joined["reason"]


def test_amp_on_a_card_that_ultralytics_knows_to_fail_is_refused(card, make_spec) -> None:
    machine = card(gib=4, name="NVIDIA GeForce GTX 1650", capability="7.5")
    (trial,) = execute(machine, [make_spec(amp=True, limit_gib=3.8)])["trials"]
    assert (trial["outcome"], trial["epochs"], trial["peak"]) == ("amp_refused", [], None)
    assert trial["reason"].startswith(
        "Ultralytics' AMP check failed on Emulated NVIDIA GeForce GTX 1650: it would have trained "
        "as b4×a1, without AMP. Set amp=false or"
    )


# The second part dies in its first epoch, and is given once more.
IN_PARTS = """
from dataclasses import replace
class Killer(Watcher):
    def on_progress(self, done, total):
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
whole = run("0")
run("1")
spec = TrialFolder(Path("1")).read_spec()
TrialFolder(Path("1")).prepare(replace(spec, trained=1, until=None))
killed = run("1", watcher=Killer())
second = run("1")
def weights(name):
    kept = torch.load(Path(name) / "weights/last.pt", weights_only=False)
    return (kept["ema"] or kept["model"]).state_dict()
ours, theirs = weights("0"), weights("1")
answer(whole=whole["trials"][0], second=second["trials"][0],
       killed=killed["trials"][0], left=killed["left"],
       differ=[name for name, value in ours.items() if not torch.equal(value, theirs[name])])
"""


def test_killed_and_continued_on_a_card_it_is_the_run_in_one_go(card, make_spec) -> None:
    machine = card(gib=4)
    kind = {"optimizer": "AdamW", "amp": True, "keep_weights": True}  # its kernel asks for layouts
    spec = make_spec(**kind, batch=6, accumulate=2, limit_gib=3.8)
    for name, until in (("0", None), ("1", 1)):
        given = replace(spec, until=until)
        TrialFolder(machine.folder / name).prepare(given)
    seen = machine.run(EXECUTE + IN_PARTS)
    assert (seen["whole"]["outcome"], len(seen["whole"]["epochs"])) == ("complete", spec.epochs)
    assert "SIGKILL" in seen["killed"]["reason"] and seen["left"] == {FIRST: [0.0, {}]}
    assert seen["second"]["epochs"] == seen["whole"]["epochs"]
    assert seen["differ"] == [], "the weights are those of one go, bit for bit"
