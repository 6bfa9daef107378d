"""Predictions of many configs in child processes."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from sweeper.errors import SettingsError
from sweeper.memory.config import MemoryConfig
from sweeper.memory.predict.parallel import CONFIGS, group_by_trace, in_children


def config(batch: int, amp: bool) -> MemoryConfig:
    return MemoryConfig("yolo11n", 3, batch, False, amp, 64, "SGD", 1.0)


def test_items_of_one_trace_are_together_and_equal_ones_in_one_part() -> None:
    items = [(config(b, amp), i) for i in range(2) for amp in (False, True) for b in range(1, 7)]
    groups = group_by_trace(items, lambda item: item[0])
    assert [len(parts) for parts in groups] == [2, 2]
    for parts in groups:
        assert len({c.amp for part in parts for c, _ in part}) == 1
        configs = [{c for c, _ in part} for part in parts]
        assert [len(found) for found in configs] == [CONFIGS, 6 - CONFIGS]
        assert not configs[0] & configs[1]
    assert sorted(i for parts in groups for part in parts for _, i in part) == [0] * 12 + [1] * 12


def _trace(task: tuple[Path, int]) -> int:
    """The first of a group is slow to leave what the others need."""
    file, number = task
    if number == 0:
        time.sleep(0.3)
        file.touch(exist_ok=False)
    return number if file.exists() else -1


def test_the_first_of_a_group_is_done_before_the_others(tmp_path: Path) -> None:
    groups = [[(tmp_path / name, number) for number in range(4)] for name in "abc"]
    assert in_children(_trace, groups) == [0, 1, 2, 3] * 3


def _refuse(task: tuple[Path, int]) -> int:
    file, number = task
    if number == 0:
        raise ValueError(f"{file.name} cannot be built")
    file.touch()
    return number


def test_where_the_first_fails_the_others_are_not_tried(tmp_path: Path) -> None:
    groups = [[(tmp_path / name, number) for number in range(3)] for name in "ab"]
    with pytest.raises(SettingsError, match="a cannot be built"):
        in_children(_refuse, groups)
    assert not [*tmp_path.iterdir()]


def _deaf(begun: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begun.touch()
    time.sleep(600)


def test_stopped_it_does_not_wait_for_children_that_hear_nothing(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    main = threading.get_ident()

    def stop() -> None:
        while not begun.exists():
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        threading.Thread(target=stop).start()
        with pytest.raises(KeyboardInterrupt):
            in_children(_deaf, [[begun]])
    finally:
        signal.signal(signal.SIGINT, before)
