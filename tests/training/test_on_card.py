"""Real training on an emulated card: out of memory where it happens, skipped steps, the cap."""

from __future__ import annotations

import math
from typing import Any

from sweeper.emulator.machine import Card
from sweeper.trial.folder import TrialFolder
from sweeper.trial.spec import TrialSpec
from tests.cards import EmulatedMachine

TRAIN = """
from pathlib import Path
from types import SimpleNamespace
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.tal import TaskAlignedAssigner
from sweeper.study.judge import judge
from sweeper.training.run import run_trial
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import TrialFacts
epochs = []
def train(name):
    spec = TrialFolder(Path("spec")).read_spec()
    link = SimpleNamespace(send_epoch=epochs.append, send_progress=lambda done, total: None)
    uuid = "GPU-emulated-0000-0000-0000-000000000000"
    facts = run_trial(spec, TrialFolder(Path(name).absolute()), uuid, link)
    return judge(spec, TrialFacts(child=facts))
def wrap(owner, name, before=lambda: None, after=lambda: None):
    whole = getattr(owner, name)
    def wrapped(*args, **kwargs):
        before()
        result = whole(*args, **kwargs)
        after()
        return result
    setattr(owner, name, wrapped)
"""


def train(machine: EmulatedMachine, spec: TrialSpec, script: str) -> dict[str, Any]:
    """What a script answers that can ``train`` the spec."""
    TrialFolder(machine.folder / "spec").prepare(spec)
    return machine.run(TRAIN + script)


# Each place in a fork of its own, as the first error is the last. A choked allocator gets no more
# of the card, and has no hole left.
PLACES = """
held = []
def choke():
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    for size in (8 * MIB, MIB, 2**15, 512):
        try:
            while True:
                held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            pass
def breathe():
    held.clear()
    torch.cuda.set_per_process_memory_fraction(1.0)
armed = []
def fail_in_assigner():  # which then tries again, image by image
    whole = TaskAlignedAssigner._forward
    def short(*args, **kwargs):
        if not armed:
            return whole(*args, **kwargs)
        armed.clear()
        choke()
        try:
            return whole(*args, **kwargs)
        finally:
            breathe()
    TaskAlignedAssigner._forward = short
def arm():
    armed.append(True)
places = {
    "forward": lambda: wrap(DetectionModel, "loss", before=choke),
    "backward": lambda: wrap(DetectionModel, "loss", after=choke),
    "optimizer step": lambda: wrap(torch.optim.SGD, "step", before=choke),
    "validation": lambda: wrap(DetectionValidator, "postprocess", before=choke),
    "later epoch": lambda: wrap(DetectionModel, "loss", before=lambda: epochs and choke()),
    "assigner": lambda: (arm(), fail_in_assigner()),
    "assigner in validation": lambda: (wrap(DetectionValidator, "init_metrics", before=arm),
                                       fail_in_assigner()),
}
seen = {}
for place, prepare in places.items():
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        prepare()
        result = train(place)
        os.write(write, json.dumps([result.outcome, result.reason, result.iterations,
                                    len(result.epochs), result.settings["batch"]]).encode())
        os._exit(0)
    os.close(write)
    seen[place] = json.loads(os.read(read, 4096))
    os.waitpid(pid, 0)
answer(**seen)
"""


def test_out_of_memory_ends_the_trial_wherever_it_happens(card, make_spec) -> None:
    spec = make_spec(batch=12, limit_gib=2.0, context_gib=0.1)  # all images at once
    seen = train(card(gib=4), spec, PLACES)
    assert {
        place: [iterations, epochs] for place, (*_, iterations, epochs, _) in seen.items()
    } == {
        "forward": [0, 0],
        "backward": [0, 0],
        "optimizer step": [0, 0],
        "validation": [1, 0],
        "later epoch": [1, 1],
        "assigner": [1, 0],
        "assigner in validation": [1, 0],
    }
    for place, (outcome, reason, _, _, batch) in seen.items():
        assert outcome == "out_of_memory", reason
        assert ("target assigner" if "assigner" in place else "tried to allocate") in reason
        assert batch == 12, "Ultralytics halved the batch"


SCALED = """
result = train("trial")
answer(outcome=result.outcome, iterations=result.iterations, steps=result.optimizer_steps,
       amp=result.amp_dtype, losses=[e.train_loss + e.val_loss for e in result.epochs])
"""


def test_steps_that_the_fp16_scaler_skips_are_not_divergence(card, make_spec) -> None:
    """At the scaler's first scale, 2**16, gradients overflow in half precision."""
    spec = make_spec(batch=2, amp=True, epochs=1, limit_gib=3.0, context_gib=0.1)
    seen = train(card(gib=4), spec, SCALED)
    assert (seen["outcome"], seen["amp"], seen["iterations"]) == ("complete", "float16", 6)
    assert 0 < seen["steps"] < 6
    assert all(map(math.isfinite, seen["losses"]))


def test_bf16_needs_no_scaler(card, make_spec) -> None:
    spec = make_spec(batch=2, amp="bf16", epochs=1, limit_gib=3.0, context_gib=0.1)
    seen = train(card(gib=4), spec, SCALED)
    assert (seen["outcome"], seen["amp"], seen["steps"]) == ("complete", "bfloat16", 6)
    assert all(map(math.isfinite, seen["losses"]))


REFUSED = """
result = train("trial")
answer(outcome=result.outcome, reason=result.reason)
"""


def test_a_card_before_ampere_refuses_bf16(card, make_spec) -> None:
    machine = card(gib=4, name="RTX 2070", capability="7.5")
    seen = train(machine, make_spec(amp="bf16", limit_gib=3.0, context_gib=0.1), REFUSED)
    assert seen["outcome"] == "amp_refused"
    assert "amp=bf16 needs compute capability 8.0" in seen["reason"]
    assert "RTX 2070" in seen["reason"] and "Set amp=true" in seen["reason"]


PEAKS = """
result = train("trial")
memory = result.memory
answer(outcome=result.outcome, reason=result.reason, peak=memory.peak_gib,
       allocated=memory.allocated_gib, train=memory.train_reserved_gib,
       val=memory.val_reserved_gib, retries=memory.alloc_retries)
"""


def test_a_capped_large_card_has_the_peaks_of_the_small_one(cards, make_spec) -> None:
    """Training fills more than half of the budget, so that the cache goes before validation."""
    budget_gib = 0.21875
    spec = make_spec(epochs=1, batch=12, limit_gib=budget_gib, context_gib=0.03125)
    large, small = (
        train(cards(Card(gib), context_mib=32, compute="light"), spec, PEAKS)
        for gib in (24, budget_gib)
    )
    assert large["outcome"] == "complete", large["reason"]
    assert large["train"] > budget_gib / 2 and large["train"] > large["val"]
    assert large == small
