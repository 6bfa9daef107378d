"""Predictions for many specs at once, in child processes: the parent never imports torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from sweeper.errors import SettingsError, SweeperError
from sweeper.memory.predict.prediction import VramPrediction, predict_vram
from sweeper.trial.record import MemoryReading, TrialSpec

SIMULATED = "simulated"
CHILDREN = 2  # a trace of yolo11x holds 1.6 GiB of host memory
T = TypeVar("T")
R = TypeVar("R")


def forecast(specs: Iterable[TrialSpec], cache_dir: Path) -> list[TrialSpec]:
    """The specs, each with its predicted peak.

    Raises:
        SettingsError: A model that is none, or a value that cannot be predicted.
    """
    groups = group_by(enumerate(specs), lambda item: (item[1].model_file, item[1].nc, item[1].amp))
    found = in_children(partial(_forecast_all, cache_dir=cache_dir), groups)
    return [spec for _, spec in sorted(chain(*found), key=itemgetter(0))]


def group_by(items: Iterable[T], trace_of: Callable[[T], Hashable]) -> list[list[T]]:
    """The items in lists that share a trace, so that no two processes make the same one."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(trace_of(item), []).append(item)
    return list(groups.values())


def in_children(work: Callable[[T], R], tasks: list[T]) -> list[R]:
    """Results of tasks that predict memory, in order, each made in a child process.

    Raises:
        SettingsError: A child raised ValueError.
        SweeperError: A child was killed.
    """
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(CHILDREN, mp_context=context, initializer=_follow_parent) as pool:
        try:
            return list(pool.map(work, tasks))
        except ValueError as error:
            raise SettingsError(str(error)) from error
        except BrokenProcessPool as error:
            raise SweeperError(
                "the process that predicts memory was killed; host memory may be short"
            ) from error


def reading(prediction: VramPrediction) -> MemoryReading:
    """A prediction in the form of a measurement, marked as simulated."""
    return MemoryReading(
        peak_gib=prediction.peak_gib,
        source=SIMULATED,
        method="trace",
        allocated_gib=prediction.allocated_gib,
        reserved_gib=prediction.reserved_gib,
        train_reserved_gib=prediction.training_gib,
        val_reserved_gib=prediction.validation_gib,
        context_gib=prediction.context_gib,
        parts=prediction.parts,
    )


def _forecast_all(
    specs: list[tuple[int, TrialSpec]], cache_dir: Path
) -> list[tuple[int, TrialSpec]]:
    return [(i, replace(spec, predicted=reading(_predict(spec, cache_dir)))) for i, spec in specs]


def _predict(spec: TrialSpec, cache_dir: Path) -> VramPrediction:
    return predict_vram(
        spec.model_file,
        batch=spec.batch,
        accumulate=spec.accumulate,
        amp=spec.amp,
        imgsz=spec.imgsz,
        nc=spec.nc,
        optimizer=spec.optimizer,
        boxes_per_image=spec.boxes_per_image,
        context_gib=spec.context_gib,
        cache_dir=cache_dir,
    )


def _follow_parent() -> None:
    """End with Ctrl-C without a word, and when the parent is killed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # undo sweeper.executors.preload
        signal.signal(number, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
