"""Torch's allocator on an emulated card: its cap, and its peaks by phase."""

import inspect

import pytest
import torch

from sweeper.training import allocator

ALLOCATOR = """
from sweeper.training.allocator import PhasePeaks, cap_allocator
torch.cuda.init()
def take(gib):
    return torch.empty(int(gib * GIB), dtype=torch.uint8, device="cuda")
def drop():
    torch.cuda.empty_cache()
"""

CAP = """
    cap_gib = cap_allocator({limit_gib}, 0.5)
    held = []
    try:
        while True:
            held.append(take(0.25))
    except torch.OutOfMemoryError:
        answer(cap=cap_gib, reserved=torch.cuda.max_memory_reserved() / GIB)
"""


@pytest.mark.parametrize(
    ("limit_gib", "cap_gib", "reserved_gib"),
    [(8.0, 7.5, 7.5), (24.0, 12.0, 11.5)],  # a device below the budget is its own limit
)
def test_a_large_card_behaves_like_the_budget(card, limit_gib, cap_gib, reserved_gib) -> None:
    machine = card(gib=12.5, context_mib=512, driver_mib=512)
    seen = machine.run(ALLOCATOR + inspect.cleandoc(CAP.format(limit_gib=limit_gib)))
    assert seen == {"cap": pytest.approx(cap_gib), "reserved": reserved_gib}


@pytest.mark.parametrize("budget_gib", [0.5, 0.3, 0.0, -1.0])
def test_a_budget_within_the_context_is_refused(budget_gib: float) -> None:
    with pytest.raises(ValueError, match=r"nothing beside the CUDA context of 0\.50 GiB"):
        allocator.cap_allocator(budget_gib, 0.5)


def measured(card, script: str) -> dict[str, float]:
    """What the peaks are after a script, which may switch phases of ``peaks``."""
    reading = """
peaks = PhasePeaks()
{}
seen = peaks.read()
answer(**{{name: getattr(seen, name) for name in seen.__slots__}}, running=peaks.reserved_gib)
"""
    return dict(card(gib=8).run(ALLOCATOR + reading.format(inspect.cleandoc(script))))


def test_phases_keep_their_own_peaks(card) -> None:
    seen = measured(
        card,
        """
        a, b = take(1), take(2)
        del a
        drop()
        peaks.switch("val")
        c = take(2.5)
        del b, c
        drop()
        peaks.switch("train")
        d = take(1.5)
        """,
    )
    assert (seen["train_reserved_gib"], seen["val_reserved_gib"]) == (3.0, 4.5)
    assert (seen["allocated_gib"], seen["reserved_gib"]) == (4.5, 4.5)
    assert (seen["running"], seen["alloc_retries"]) == (1.5, 0)


def test_what_was_reserved_before_does_not_count(card) -> None:
    assert measured(card, "")["reserved_gib"] == 0.0
    seen = measured(card, "a = take(4); del a; drop(); peaks = PhasePeaks(); a = take(1)")
    assert (seen["reserved_gib"], seen["allocated_gib"]) == (1.0, 1.0)


def test_what_validation_leaves_cached_is_not_trainings(card) -> None:
    seen = measured(
        card,
        """
        a = take(1)
        peaks.switch("val")
        b = take(3)
        del b
        peaks.switch("train")
        c = take(0.5)
        """,
    )
    assert (seen["train_reserved_gib"], seen["val_reserved_gib"]) == (1.0, 4.0)
    assert seen["running"] == 4.0


def test_segments_that_training_keeps_count_in_validation(card) -> None:
    seen = measured(card, 'a = take(4); del a; peaks.switch("val"); peaks.switch("train")')
    assert seen["val_reserved_gib"] == 4.0


def test_flushes_of_the_cache_are_counted(card) -> None:
    seen = measured(
        card,
        """
        cap_allocator(4.5, 0.5)
        a = take(1)
        del a
        b = take(3.5)
        """,
    )
    assert (seen["alloc_retries"], seen["reserved_gib"]) == (1, 3.5)


def test_a_refusal_is_seen_as_things_stood_though_it_is_swallowed(card) -> None:
    seen = card(gib=8, context_mib=512).run(
        ALLOCATOR
        + inspect.cleandoc("""
        from sweeper.training.allocator import watch_refusals
        seen = []
        watch_refusals(seen.append)
        held = []
        def ask(gib):
            try:
                held.append(take(gib))
            except torch.OutOfMemoryError:
                pass
        ask(6)
        ask(2)
        cap_allocator(6.75, 0.5)
        ask(0.5)
        del held[:]
        drop()
        figures = [(r.asked, r.reserved, r.allowed, r.free) for r in seen]
        answer(gib=[[n / GIB for n in each] for each in figures], by_cap=[r.by_cap for r in seen])
        """)
    )
    assert seen == {"gib": [[2, 6, 8, 1.5], [0.5, 6, 6.25, 1.5]], "by_cap": [False, True]}


def test_every_statistic_used_is_documented_in_the_installed_torch() -> None:
    text = inspect.getdoc(torch.cuda.memory_stats) or ""
    assert f'``"{allocator.RETRIES}"``' in text
    for key in (allocator.ALLOCATED_PEAK, allocator.RESERVED_PEAK):
        family, pool, kind = key.split(".")
        documented = (
            f'``"{family}.{{all,large_pool,small_pool}}.{{current,peak,allocated,freed}}"``'
        )
        assert documented in text
        assert (pool, kind) == ("all", "peak")
