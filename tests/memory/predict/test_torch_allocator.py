"""The modelled allocator against torch's own, fed with the same births and deaths."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.allocator import CachingAllocator, Replayer
from sweeper.memory.predict.architecture import find_architecture
from sweeper.memory.predict.cache import load_trace
from sweeper.memory.predict.expandable import ExpandableAllocator
from sweeper.memory.predict.optimizers import find_optimizer
from sweeper.memory.predict.programs import Workload, whole_run
from sweeper.numbers import MIB
from sweeper.trial.alloc_conf import EXPANDABLE

EMPTY = (0, 0)  # between two events: empty the cache

# What torch holds after every tenth event; nothing is written to what it allocates.
REPLAY = """
    torch.cuda.init()
    books = []
    for history in json.load(open({file!r})):
        live, book = {{}}, []
        for at, (number, nbytes) in enumerate(history):
            if number > 0:
                live[number] = torch.cuda.caching_allocator_alloc(nbytes, 0)
            elif number < 0:
                torch.cuda.caching_allocator_delete(live.pop(-number))
            else:
                torch.cuda.empty_cache()
            if at % 10 == 0:
                book.append([torch.cuda.memory_allocated(0), torch.cuda.memory_reserved(0)])
        for address in live.values():
            torch.cuda.caching_allocator_delete(address)
        torch.cuda.empty_cache()
        books.append(book)
    answer(books=books)
"""


def model(allocator: CachingAllocator, history: list[tuple[int, int]]) -> list[list[int]]:
    """What the model says that torch holds after every tenth event."""
    replayer, book = Replayer(allocator), []
    for at, event in enumerate(history):
        if event == EMPTY:
            allocator.empty_cache()
        else:
            replayer.replay([event])
        if at % 10 == 0:
            book.append([allocator.allocated, allocator.reserved])
    return book


def training(name: str, amp: bool, batch: int, accumulates: bool, optimizer: str, traces: Path):
    """The events of a training and its validation, the cache emptied between them."""
    config = MemoryConfig(name, 10, batch, accumulates, amp, 96, optimizer, 6.0)
    trace = load_trace(find_architecture(name), 10, amp, traces)
    load = Workload(config, 17, find_optimizer(optimizer), steps=2)
    train, val = whole_run(trace, load).phases
    return [*train, EMPTY, *val]


def random_history(seed: int) -> list[tuple[int, int]]:
    """Requests from bytes to hundreds of MiB; some live long, and the cache is emptied."""
    rng = random.Random(seed)
    history, live = [], []
    for number in range(1, 600):
        while live and rng.random() < 0.45:
            history.append((-live.pop(rng.randrange(len(live))), 0))
        if rng.random() < 0.02:
            history.append(EMPTY)
        live.append(number)
        history.append((number, int(2 ** rng.uniform(5, 28))))
    return history


@pytest.fixture(scope="module")
def histories(traces: Path) -> list[list[tuple[int, int]]]:
    trainings = [
        ("yolo11n", False, 3, True, "AdamW"),
        ("yolo11n", True, 16, False, "SGD"),
        ("yolo11n", True, 9, True, "MuSGD"),
        ("yolo11n", False, 40, False, "Adamax"),
    ]
    found = [training(*one, traces) for one in trainings]
    return [*found, *(random_history(seed) for seed in range(4))]


@pytest.mark.parametrize(
    ("conf", "allocator"), [("", CachingAllocator), (EXPANDABLE, ExpandableAllocator)]
)
def test_the_model_agrees_with_torch_byte_for_byte(
    card, histories, tmp_path: Path, conf: str, allocator: type[CachingAllocator]
) -> None:
    file = tmp_path / "histories.json"
    file.write_text(json.dumps(histories))
    machine = card(gib=96, compute="light")
    books = machine.run(REPLAY.format(file=str(file)), PYTORCH_ALLOC_CONF=conf)["books"]
    for history, book in zip(histories, books, strict=True):
        assert max(reserved for _, reserved in book) > 50 * MIB
        assert model(allocator(), history) == book
