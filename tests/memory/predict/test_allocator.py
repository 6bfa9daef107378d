"""The allocator model against the rules of c10/cuda/CUDACachingAllocator."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from sweeper.memory.predict.allocator import CachingAllocator, Replayer, segment_size
from sweeper.numbers import MIB


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB),
    ],
)
def test_a_segment_has_the_size_that_torch_asks_for(size: int, segment: int) -> None:
    assert segment_size(size) == segment


def test_small_requests_share_a_segment_and_round_to_512_bytes() -> None:
    allocator = CachingAllocator()
    first, second = allocator.malloc(1), allocator.malloc(513)
    assert (first.size, second.size) == (512, 1024)
    assert (allocator.allocated, allocator.reserved) == (1536, 2 * MIB)


def test_a_remainder_of_one_mib_is_not_split_off_in_the_large_pool() -> None:
    allocator = CachingAllocator()
    whole = allocator.malloc(20 * MIB)
    allocator.release(whole)
    assert allocator.malloc(19 * MIB).size == 20 * MIB
    assert allocator.reserved == 20 * MIB


def test_the_smallest_block_that_fits_is_taken() -> None:
    allocator = CachingAllocator()
    big, small = allocator.malloc(40 * MIB), allocator.malloc(30 * MIB)
    allocator.release(big)
    allocator.release(small)
    assert allocator.malloc(25 * MIB).address == small.address


def test_free_neighbours_merge_into_one_block() -> None:
    allocator = CachingAllocator()
    blocks = [allocator.malloc(4 * MIB) for _ in range(5)]
    for block in (blocks[1], blocks[3], blocks[2], blocks[0], blocks[4]):
        allocator.release(block)
    assert allocator.malloc(20 * MIB).size == 20 * MIB
    assert allocator.reserved == 20 * MIB


def test_pools_do_not_lend_to_each_other() -> None:
    allocator = CachingAllocator()
    allocator.release(allocator.malloc(20 * MIB))
    allocator.malloc(512)
    assert allocator.reserved == 22 * MIB


def test_a_random_history_keeps_the_books() -> None:
    rng = random.Random(0)
    allocator, held = CachingAllocator(), {}
    for step in range(4000):
        if held and rng.random() < 0.5:
            allocator.release(held.pop(rng.choice(list(held))))
        else:
            held[step] = allocator.malloc(int(2 ** rng.uniform(5, 26)))
        spans = sorted((b.address, b.address + b.size) for b in held.values())
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert allocator.allocated == sum(block.size for block in held.values())
        assert allocator.allocated <= allocator.reserved
    for block in held.values():
        allocator.release(block)
    assert allocator.allocated == 0


def test_a_replay_reports_the_peak_and_the_event_that_made_it() -> None:
    result = Replayer(CachingAllocator()).replay(
        [(1, 30 * MIB), (2, 20 * MIB), (-1, 0), (3, 4 * MIB)]
    )
    assert result.allocated == 50 * MIB
    assert result.reserved == 50 * MIB
    assert result.peak_event == 1


def test_a_replay_goes_on_with_the_cache_or_with_an_empty_one() -> None:
    replayer = Replayer(CachingAllocator())
    replayer.replay([(1, 30 * MIB), (2, 4 * MIB), (3, 4 * MIB), (-1, 0), (-2, 0)])
    emptied = replayer.emptied()
    for once_more, reserved in ((replayer, 90), (emptied, 60)):  # 20 of it around number 3
        found = once_more.replay([(4, 40 * MIB), (5, 4 * MIB), (-3, 0), (-5, 0)])
        assert (found.allocated, found.reserved) == (48 * MIB, reserved * MIB)
        assert found.peak_event == 6
    assert emptied.replay([(6, 20 * MIB)]).reserved == 60 * MIB  # 3 and 5 have merged again
