"""The child's meter on an emulated card: context, cap, phases, neighbours and hidden processes."""

import inspect
from typing import Any

import pytest

from sweeper.trial.folder import TrialFolder

METER = """
import ctypes, subprocess
from contextlib import contextmanager
from pathlib import Path
from sweeper.training.device import DeviceMeter
from sweeper.trial.folder import TrialFolder
from tests.cards import NEIGHBOUR
def take(gib):
    return torch.empty(int(gib * GIB), dtype=torch.uint8, device="cuda")
def fill():
    held = []
    try:
        while True:
            held.append(take(1 / 64))
    except torch.OutOfMemoryError:
        return held
def grow_context(gib):  # as kernels and libraries do: not through torch's allocator
    block = ctypes.c_void_p()
    assert ctypes.CDLL(None).cudaMalloc(ctypes.byref(block), ctypes.c_size_t(int(gib * GIB))) == 0
@contextmanager
def neighbour(gib):  # holds so much beside its context of 256 MiB
    words = [sys.executable, "-c", NEIGHBOUR, "0", str(int(gib * GIB) - 256 * MIB)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"0\\n"
        yield
spec = TrialFolder(Path("spec")).read_spec()
meter = DeviceMeter(spec, "GPU-emulated-0000-0000-0000-000000000000")
"""


def meter(machine, spec, script: str, **environ: str) -> dict[str, Any]:
    """What a script answers that has an open ``meter``."""
    TrialFolder(machine.folder / "spec").prepare(spec)
    return dict(machine.run(METER + inspect.cleandoc(script), **environ))


@pytest.mark.parametrize("amp", [False, True])
def test_the_cap_knows_the_kernels_and_what_a_context_still_grows_by_in_training(
    card, make_spec, amp: bool
) -> None:
    machine = card(gib=8, context_mib=256, kernels_mib=128)
    spec = make_spec(limit_gib=2.0, context_gib=0.25, amp=amp, optimizer="AdamW")
    seen = meter(
        machine,
        spec,
        """
        state = torch.random.get_rng_state()
        meter.start()
        untouched = torch.equal(state, torch.random.get_rng_state())
        empty = torch.cuda.memory_reserved()
        held = fill()
        del held[:]
        held = fill()
        grow_context(1 / 64)
        reading = meter.read()
        answer(untouched=untouched, empty=empty, peak=reading.peak_gib, short=meter.is_short(),
               context=reading.context_gib, reserved=reading.reserved_gib, note=reading.note)
        """,
    )
    assert seen == {
        "untouched": True,
        "empty": 0,
        "peak": 2.0,
        "context": 0.390625,
        "reserved": 1.609375,
        "short": True,
        "note": "",
    }


def test_the_cap_follows_the_context_at_each_change_of_phase(card, make_spec) -> None:
    seen = meter(
        card(gib=8, context_mib=256),
        make_spec(limit_gib=2.0, context_gib=0.25),
        """
        meter.start()
        held = fill()
        first = torch.cuda.memory_reserved() / GIB
        del held[:]
        torch.cuda.empty_cache()
        grow_context(0.25)
        meter.switch("val")
        held = fill()
        reading = meter.read()
        answer(first=first, second=torch.cuda.memory_reserved() / GIB, peak=reading.peak_gib,
               context=reading.context_gib)
        """,
    )
    # Training held 1.734 GiB until its context had grown to 0.5: nobody saw in which order.
    grown = 1 / 64
    assert seen == {
        "first": 1.75 - grown,
        "second": 1.5 - grown,
        "peak": 2.25 - grown,
        "context": 0.5,
    }


def test_what_grows_in_a_later_phase_does_not_count_in_an_earlier_one(card, make_spec) -> None:
    seen = meter(
        card(gib=8, context_mib=256),
        make_spec(limit_gib=4.0, context_gib=0.25),
        """
        meter.start()
        held = take(2)
        meter.switch("val")
        del held
        torch.cuda.empty_cache()
        meter.switch("train")
        grow_context(0.5)
        reading = meter.read()
        answer(peak=reading.peak_gib, context=reading.context_gib)
        """,
    )
    assert seen == {"peak": 2.25, "context": 0.75}


HIDDEN = ["container", "zero", "host", "wsl"]


@pytest.mark.parametrize("pids", HIDDEN)
def test_where_processes_are_hidden_a_neighbour_neither_caps_nor_counts(
    card, make_spec, pids: str
) -> None:
    machine = card(gib=8, context_mib=256, pids=pids)
    seen = meter(
        machine,
        make_spec(limit_gib=2.0, context_gib=0.375),
        """
        with neighbour(3):
            meter.start()
            held = fill()
            reading = meter.read()
            answer(peak=reading.peak_gib, context=reading.context_gib, note=reading.note,
                   shortfall=meter.shortfall())
        """,
    )
    assert seen == {
        "peak": 2.0,
        "context": 0.375,
        "note": "The CUDA context is assumed, not measured.",
        "shortfall": "",
    }


def test_a_figure_below_what_the_allocator_holds_is_not_believed(card, make_spec) -> None:
    seen = meter(
        card(gib=8, context_mib=256),
        make_spec(limit_gib=4.0, context_gib=0.375),
        """
        meter.start()
        held = take(2)
        block = ctypes.c_void_p(held.data_ptr())
        assert ctypes.CDLL(None).cudaFree(block) == 0  # behind the allocator's back
        reading = meter.read()
        answer(peak=reading.peak_gib, note=reading.note)
        """,
    )
    assert seen == {"peak": 2.375, "note": "The CUDA context is assumed, not measured."}


BUDGETS = [
    (0.4, 7.65, ""),  # what a driver keeps
    (1.3, 7.0, "other processes held 1.30 of the device's 8.00 GiB"),
    (4.0, 7.65, "other processes held 4.00 of the device's 8.00 GiB"),
    (4.0, 3.9, ""),  # enough is left for this budget
    (0.3, 20.0, "the budget of 20.00 GiB was not there"),
]


@pytest.mark.parametrize(("neighbour_gib", "limit_gib", "said"), BUDGETS[1:4])
def test_what_other_libraries_lack_is_judged_by_the_device_as_it_is_then(
    card, make_spec, neighbour_gib: float, limit_gib: float, said: str
) -> None:
    machine = card(gib=8, context_mib=256)
    with machine.neighbour(neighbour_gib):
        seen = meter(
            machine,
            make_spec(limit_gib=limit_gib, context_gib=0.25),
            "held = take(2); answer(shortfall=meter.shortfall(), short=meter.is_short())",
        )
    assert said in seen["shortfall"] and bool(said) == bool(seen["shortfall"]) == seen["short"]


@pytest.mark.parametrize("pids", ["shown", "container"])
@pytest.mark.parametrize(("neighbour_gib", "limit_gib", "said"), BUDGETS)
def test_out_of_memory_is_proof_only_where_the_budget_was_free_at_that_moment(
    card, make_spec, neighbour_gib: float, limit_gib: float, said: str, pids: str
) -> None:
    seen = meter(
        card(gib=8, context_mib=256, pids=pids),
        make_spec(limit_gib=limit_gib, context_gib=0.25),
        f"""
        with neighbour({neighbour_gib}):
            meter.start()
            held = fill()
        del held
        torch.cuda.empty_cache()
        answer(shortfall=meter.shortfall(), short=meter.is_short())
        """,
    )
    assert said in seen["shortfall"] and bool(said) == bool(seen["shortfall"])
    assert seen["short"]


def test_what_the_cap_refuses_is_proof_though_others_have_left_too_little(card, make_spec) -> None:
    seen = meter(
        card(gib=8, context_mib=256),
        make_spec(limit_gib=2.0, context_gib=0.25),
        """
        with neighbour(5.9):
            meter.start()
            try:
                held = [take(1), take(1)]
            except torch.OutOfMemoryError:
                free = torch.cuda.mem_get_info()[0] / GIB
        answer(free=free, shortfall=meter.shortfall())
        """,
    )
    assert seen == {"free": pytest.approx(0.85, abs=0.01), "shortfall": ""}


def test_what_one_phase_was_refused_says_nothing_of_the_next(card, make_spec) -> None:
    seen = meter(
        card(gib=8, context_mib=256),
        make_spec(limit_gib=4.0, context_gib=0.25),
        """
        meter.start()
        try:
            take(5)
        except torch.OutOfMemoryError:
            short = [meter.is_short()]
        meter.switch("val")
        answer(short=[*short, meter.is_short()])
        """,
    )
    assert seen == {"short": [True, False]}


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_the_reading_says_how_the_allocator_was_configured_and_that_it_struggled(
    card, make_spec, name: str
) -> None:
    script = """
        meter.start()
        held = take(2)
        del held
        held = take(2.5)
        reading = meter.read()
        answer(conf=reading.alloc_conf, retries=reading.alloc_retries)
    """
    machine = card(gib=8, context_mib=256)
    spec = make_spec(limit_gib=3.0, context_gib=0.25)
    assert meter(machine, spec, script) == {"conf": "", "retries": 1}
    configured = {name: "max_split_size_mb:512"}
    seen = meter(machine, spec, script, **configured)
    assert seen == {"conf": "max_split_size_mb:512", "retries": 1}


def test_the_allocator_is_what_the_trial_asks_for(card, make_spec) -> None:
    script = """
        meter.start()
        held = take(1)
        segments = [s["is_expandable"] for s in torch.cuda.memory_snapshot()]
        answer(conf=meter.read().alloc_conf, expandable=all(segments))
    """
    told = "max_split_size_mb:512,expandable_segments:True"
    spec = make_spec(limit_gib=3.0, context_gib=0.25, alloc_conf=told)
    machine = card(gib=8, context_mib=256)
    seen = meter(machine, spec, script, PYTORCH_CUDA_ALLOC_CONF="max_split_size_mb:512")
    assert seen == {"conf": told, "expandable": True}


def test_an_allocator_with_room_is_not_short(card, make_spec) -> None:
    seen = meter(
        card(gib=8, context_mib=256),
        make_spec(limit_gib=4.25, context_gib=0.25),
        """
        meter.start()
        held = [take(3.75)]
        short = [meter.is_short()]
        held += [take(0.0625)]
        short += [meter.is_short()]
        answer(short=short)
        """,
    )
    assert seen == {"short": [False, True]}
