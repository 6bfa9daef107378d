"""Predict many configs at once, in child processes: the parent never imports torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from sweeper.errors import SettingsError, SweeperError
from sweeper.memory.config import MemoryConfig, TraceKey
from sweeper.memory.predict.peaks import Peaks, predict_peaks
from sweeper.trial.readings import SIMULATED, MemoryReading
from sweeper.trial.spec import TrialSpec

CHILDREN = 2  # a trace of yolo11x holds 1.6 GiB of host memory
CONFIGS = 4  # of a part: few, so that the children end together
T = TypeVar("T")
R = TypeVar("R")


def predict_specs(specs: Iterable[TrialSpec], cache_dir: Path) -> list[TrialSpec]:
    """The specs, each with its predicted peak.

    Raises:
        SettingsError: Not a model, or a value that cannot be predicted.
    """
    groups = group_by_trace(enumerate(specs), lambda item: MemoryConfig.of(item[1]))
    found = in_children(partial(_predict_group, cache_dir=cache_dir), groups)
    return [spec for _, spec in sorted(chain(*found), key=itemgetter(0))]


def group_by_trace(
    items: Iterable[T], config_of: Callable[[T], MemoryConfig]
) -> list[list[list[T]]]:
    """The items in parts, those that share a trace together, and equal configs in one part."""
    groups: defaultdict[TraceKey, defaultdict[MemoryConfig, list[T]]]
    groups = defaultdict(lambda: defaultdict(list))
    for item in items:
        config = config_of(item)
        groups[config.trace_key][config].append(item)
    return [_parts(list(group.values())) for group in groups.values()]


def _parts(same: list[list[T]]) -> list[list[T]]:
    return [list(chain(*same[i : i + CONFIGS])) for i in range(0, len(same), CONFIGS)]


def in_children(work: Callable[[T], R], groups: list[list[T]]) -> list[R]:
    """Results of tasks that predict memory, in order, each made in a child process.

    The first of a group is done before the others, which then find its trace in the cache.

    Raises:
        SettingsError: A child raised ValueError.
        SweeperError: A child was killed, or a library is broken.
        KeyboardInterrupt: A signal stopped it; all children of this process are killed.
    """
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(CHILDREN, mp_context=context, initializer=_begin)
    try:
        return [future.result() for future in _submit(pool, work, groups)]
    except ValueError as error:
        raise SettingsError(str(error)) from error
    except ImportError as error:
        raise SweeperError(
            f"a library cannot be loaded: {error}. python -m sweeper.doctor says what to do."
        ) from error
    except BrokenProcessPool as error:
        raise SweeperError(
            "the process that predicts memory was killed; host memory may be short"
        ) from error
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():  # one that starts is deaf to signals
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: Executor, work: Callable[[T], R], groups: list[list[T]]) -> list[Future[R]]:
    """All tasks, in order; those of a group whose first fails are left out."""
    first = {pool.submit(work, group[0]): group[1:] for group in groups}
    others = {
        done: [pool.submit(work, task) for task in first[done]]
        for done in as_completed(first)
        if not done.exception()
    }
    return [future for done in first for future in (done, *others.get(done, ()))]


def reading(peaks: Peaks, context_gib: float, limit_gib: float) -> MemoryReading:
    """A prediction in the form of a measurement, marked as simulated; its labels were counted."""
    training, validation = peaks.within(limit_gib, context_gib)
    top = peaks.top(limit_gib, context_gib)
    return MemoryReading(
        peak_gib=top.reserved_gib + context_gib,
        source=SIMULATED,
        method="trace",
        allocated_gib=top.allocated_gib,
        reserved_gib=top.reserved_gib,
        train_reserved_gib=training.reserved_gib,
        val_reserved_gib=validation.reserved_gib,
        context_gib=context_gib,
        parts=top.parts,
        peak_upper_gib=peaks.upper_gib(limit_gib, context_gib, peaks.config.boxes_per_image),
    )


def _predict_group(
    specs: list[tuple[int, TrialSpec]], cache_dir: Path
) -> list[tuple[int, TrialSpec]]:
    return [(i, _predict(spec, cache_dir)) for i, spec in specs]


def _predict(spec: TrialSpec, cache_dir: Path) -> TrialSpec:
    peaks = predict_peaks(MemoryConfig.of(spec), cache_dir)
    predicted = reading(peaks, spec.context_gib, spec.limit_gib)
    return replace(spec, predicted=replace(predicted, alloc_conf=spec.alloc_conf))


def _begin() -> None:
    """Leave stdout, where Ultralytics may speak, to the parent, and end with it or with Ctrl-C."""
    sys.stdout = sys.stderr
    for number in (signal.SIGINT, signal.SIGTERM):  # undo sweeper.fork_server
        signal.signal(number, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
