"""A model of torch's CUDA caching allocator that replays births and deaths of storages."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.numbers import MIB

# Constants of c10/core/AllocatorConfig.h and c10/cuda/CUDACachingAllocator.cpp, torch 2.
MIN_BLOCK = 512
SMALL_SIZE = MIB  # requests up to here come from the small pool
SMALL_SEGMENT = 2 * MIB
MIN_LARGE = 10 * MIB  # requests below share segments of LARGE_SEGMENT
LARGE_SEGMENT = 20 * MIB
ROUND_LARGE = 2 * MIB


class Block:
    """A piece of a segment, linked to its neighbours so that free ones can be merged.

    Attributes:
        size: Bytes.
        address: Where it begins.
        small: Whether it belongs to the small pool.
        before: The neighbour at lower addresses.
        after: The neighbour at higher addresses.
        free: Whether nobody uses it.
        mapped: Whether its addresses hold memory.
    """

    __slots__ = ("address", "after", "before", "free", "mapped", "size", "small")

    def __init__(self, size: int, address: int, small: bool) -> None:
        self.size, self.address, self.small = size, address, small
        self.before: Block | None = None
        self.after: Block | None = None
        self.free = False
        self.mapped = True


def segment_size(size: int) -> int:
    """Bytes asked from the driver for a rounded request of `size` bytes."""
    if size <= SMALL_SIZE:
        return SMALL_SEGMENT
    if size < MIN_LARGE:
        return LARGE_SEGMENT
    return -(-size // ROUND_LARGE) * ROUND_LARGE


class CachingAllocator:
    """Best fit with splitting and merging, one stream.

    `allocated` and `reserved`, in bytes, are what `torch.cuda.memory_allocated()` and
    `memory_reserved()` would report.
    """

    def __init__(self) -> None:
        self.allocated = self.reserved = 0
        # Free blocks, small and large, sorted; addresses differ, so blocks are never compared.
        self._pools: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}
        self._segments: list[Block] = []  # the first block of each
        self._top = 0

    def malloc(self, nbytes: int) -> Block:
        """Return a block that holds `nbytes`."""
        size = -(-nbytes // MIN_BLOCK) * MIN_BLOCK or MIN_BLOCK
        small = size <= SMALL_SIZE
        block = self._take(size, small) or self._grow(size, small)
        if block.size != size and self._is_worth(block.size - size, small):
            self._split(block, size)
        self.allocated += block.size
        return block

    def release(self, block: Block) -> None:
        """Give a block back to its pool and merge it with free neighbours."""
        self.allocated -= block.size
        self._enter(self._merge(block))

    def empty_cache(self) -> None:
        """Return the segments that are wholly free to the driver."""
        kept = []
        for block in self._segments:
            if block.free and block.after is None:
                self._leave(block)
                self.reserved -= block.size
            else:
                kept.append(block)
        self._segments = kept

    def copy(self) -> tuple[CachingAllocator, dict[int, Block]]:
        """The same state once more, and its blocks in use by address."""
        other, used = type(self)(), {}
        other.allocated, other.reserved, other._top = self.allocated, self.reserved, self._top
        for first in self._segments:
            block: Block | None = first
            before: Block | None = None
            while block is not None:
                twin = Block(block.size, block.address, block.small)
                twin.before, twin.mapped = before, block.mapped
                if before is None:
                    other._segments.append(twin)
                else:
                    before.after = twin
                if block.free:
                    other._enter(twin)
                else:
                    used[twin.address] = twin
                block, before = block.after, twin
        return other, used

    def _take(self, size: int, small: bool) -> Block | None:
        pool = self._pools[small]
        at = bisect_left(pool, (size,))
        if at == len(pool):
            return None
        block = pool.pop(at)[2]
        block.free = False
        return block

    def _grow(self, size: int, small: bool) -> Block:
        block = Block(segment_size(size), self._top, small)
        self._top += block.size
        self._segments.append(block)
        self.reserved += block.size
        return block

    def _is_worth(self, rest: int, small: bool) -> bool:
        """Whether what a request leaves of a block is split off."""
        return rest >= MIN_BLOCK if small else rest > SMALL_SIZE

    def _merge(self, block: Block) -> Block:
        """Join a block with its neighbours that are free, and mapped as it is."""
        before, after = block.before, block.after
        if before is not None and before.free and before.mapped == block.mapped:
            self._leave(before)
            before.size += block.size
            before.after = after
            if after is not None:
                after.before = before
            block = before
        if after is not None and after.free and after.mapped == block.mapped:
            self._leave(after)
            block.size += after.size
            block.after = after.after
            if block.after is not None:
                block.after.before = block
        return block

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.size - size, block.address + size, block.small)
        rest.before, rest.after, rest.mapped = block, block.after, block.mapped
        if rest.after is not None:
            rest.after.before = rest
        block.after, block.size = rest, size
        self._enter(rest)

    def _enter(self, block: Block) -> None:
        block.free = True
        insort(self._pools[block.small], (block.size, block.address, block))

    def _leave(self, block: Block) -> None:
        pool = self._pools[block.small]
        del pool[bisect_left(pool, (block.size, block.address))]


@dataclass(frozen=True, slots=True)
class Replay:
    """Peaks of one replay, in bytes; `peak_event` is the event that set `allocated`."""

    allocated: int
    reserved: int
    peak_event: int


class Replayer:
    """Replays `(number, nbytes)` births and `(-number, at most 0)` deaths, numbers from 1.

    An empty storage asks the allocator for nothing.
    """

    def __init__(self, allocator: CachingAllocator) -> None:
        self._allocator = allocator
        self._live: dict[int, Block] = {}
        self._done = 0

    def replay(self, events: Sequence[tuple[int, int]]) -> Replay:
        """Go on with events; `peak_event` counts from the very first, `reserved` is a peak."""
        allocator, live = self._allocator, self._live
        malloc, release = allocator.malloc, allocator.release
        peak, peak_event, reserved = allocator.allocated, self._done - 1, allocator.reserved
        for index, (number, nbytes) in enumerate(events, self._done):
            if nbytes > 0:
                live[number] = malloc(nbytes)
                if allocator.allocated > peak:
                    peak, peak_event = allocator.allocated, index
            elif -number in live:
                release(live.pop(-number))
        self._done += len(events)
        return Replay(peak, max(reserved, allocator.reserved), peak_event)

    def emptied(self) -> Replayer:
        """Another one that goes on from here with an empty cache."""
        allocator, used = self._allocator.copy()
        other = Replayer(allocator)
        other._live = {number: used[block.address] for number, block in self._live.items()}
        other._done = self._done
        other._allocator.empty_cache()
        return other
