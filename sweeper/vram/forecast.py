"""Predictions for many specs at once, in a child process: the parent never imports torch."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.errors import SettingsError, SweeperError
from sweeper.trial import MemoryReading, TrialSpec
from sweeper.vram.predict import VramPrediction, predict_vram

SIMULATED = "simulated"


def forecast(specs: Iterable[TrialSpec], cache_dir: Path) -> list[TrialSpec]:
    """The specs, each with its predicted peak.

    Raises:
        SettingsError: A model that is none, or a value that cannot be predicted.
    """
    specs = list(specs)
    requests = [_request(spec) | {"cache_dir": str(cache_dir)} for spec in specs]
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            predictions = pool.submit(_predict_all, requests).result()
        except ValueError as error:
            raise SettingsError(str(error)) from error
        except BrokenProcessPool as error:
            raise SweeperError(
                "the process that predicts memory was killed; host memory may be short"
            ) from error
    pairs = zip(specs, predictions, strict=True)
    return [replace(spec, predicted=reading(prediction)) for spec, prediction in pairs]


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


def _request(spec: TrialSpec) -> dict[str, Any]:
    return {
        "model": spec.model_file,
        "batch": spec.batch,
        "accumulate": spec.accumulate,
        "amp": spec.amp,
        "imgsz": spec.imgsz,
        "nc": spec.nc,
        "optimizer": spec.optimizer,
        "boxes_per_image": spec.boxes_per_image,
        "context_gib": spec.context_gib,
    }


def _end_with_parent() -> None:
    """Leave no process behind when the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _predict_all(requests: list[dict[str, Any]]) -> list[VramPrediction]:
    return [predict_vram(**request) for request in requests]
