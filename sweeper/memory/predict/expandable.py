"""The model of torch's allocator under ``expandable_segments:True``."""

from __future__ import annotations

from bisect import bisect_left, insort

from sweeper.memory.predict.allocator import (
    LARGE_SEGMENT,
    MIN_BLOCK,
    SMALL_SEGMENT,
    Block,
    CachingAllocator,
)
from sweeper.numbers import GIB

# Addresses of a segment: more than are ever mapped, and whole pages of both pools.
SPACE = 5 * 2**20 * GIB


class ExpandableAllocator(CachingAllocator):
    """One segment for each pool, whose addresses get memory in pages as they are needed.

    A page has 2 MiB in the small pool, 20 MiB in the large one. Addresses without memory are
    blocks of their own: behind all others, and where an emptied cache left them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unmapped: dict[bool, list[tuple[int, Block]]] = {True: [], False: []}

    def empty_cache(self) -> None:
        """Return the pages that lie wholly in free blocks to the driver."""
        for pool in self._pools.values():
            for _, _, block in list(pool):
                self._unmap(block)

    def _is_worth(self, rest: int, small: bool) -> bool:
        return rest >= MIN_BLOCK

    def _take(self, size: int, small: bool) -> Block | None:
        """The best fit, where a block counts with the unmapped addresses behind it."""
        pool = self._pools[small]
        at = bisect_left(pool, (size,))
        if at == len(pool):
            return None
        while at + 1 < len(pool) and _reach(pool[at + 1][2]) < _reach(pool[at][2]):
            at += 1
        block = pool.pop(at)[2]
        block.free = False
        return block

    def _grow(self, size: int, small: bool) -> Block:
        """Map what is missing at the first addresses that are enough."""
        block = self._first_room(size, small)
        if not block.mapped:
            block = self._map(block, min(size, block.size))
        while block.size < size:
            after = block.after
            assert after is not None
            block = self._map(after, min(size - block.size, after.size))
        self._leave(block)
        block.free = False
        return block

    def _first_room(self, size: int, small: bool) -> Block:
        """The first of the free blocks, mapped or not, that together are enough."""
        for _, block in self._unmapped[small]:
            first = block.before if block.before is not None and block.before.free else block
            room = 0
            part: Block | None = first
            while part is not None and part.free and room < size:
                room += part.size
                part = part.after
            if room >= size:
                return first
        segment = Block(SPACE, self._top, small)
        segment.mapped = False
        self._top += SPACE
        self._segments.append(segment)
        self._enter(segment)
        return segment

    def _map(self, block: Block, size: int) -> Block:
        """Give memory to the beginning of an unmapped block; the free block that it is then in."""
        self._leave(block)
        mapped = -(-size // _page(block)) * _page(block)
        if mapped < block.size:
            self._split(block, mapped)
        block.mapped = True
        self.reserved += block.size
        block = self._merge(block)
        self._enter(block)
        return block

    def _unmap(self, block: Block) -> None:
        page, end = _page(block), block.address + block.size
        first, last = -(-block.address // page) * page, end // page * page
        if first >= last:
            return
        self._leave(block)
        if last < end:
            self._split(block, last - block.address)
        if first > block.address:
            self._split(block, first - block.address)
            self._enter(block)
            assert block.after is not None
            block = block.after
            self._leave(block)
        block.mapped = False
        self.reserved -= block.size
        self._enter(self._merge(block))

    def _enter(self, block: Block) -> None:
        if block.mapped:
            super()._enter(block)
        else:
            block.free = True
            insort(self._unmapped[block.small], (block.address, block))

    def _leave(self, block: Block) -> None:
        if block.mapped:
            super()._leave(block)
        else:
            pool = self._unmapped[block.small]
            del pool[bisect_left(pool, (block.address,))]


def _page(block: Block) -> int:
    return SMALL_SEGMENT if block.small else LARGE_SEGMENT


def _reach(block: Block) -> int:
    after = block.after
    return block.size + (after.size if after is not None and not after.mapped else 0)
