"""Readings of a verification in the columns of benchmarks/published_vram.csv."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.plan.files import csv_text
from sweeper.plan.verify import Tried, Verification
from sweeper.training.full_images import BATCHES, fullest_image
from sweeper.trial.record import Outcome

COLUMNS = (
    *("model", "batch", "imgsz", "amp", "gpu", "ultralytics_version", "torch_version", "nc"),
    *("optimizer", "gpu_mem_gb", "unit", "epoch_seen", "gpu_mem_max_gb", "n_epochs_seen"),
    *("cache_clear", "n_train_images", "instances_max", "source"),
)
UNIT = "GiB(2**30)"
EQUAL = ", images equally full"  # so that nobody takes the fullest image for fuller than the mean
CACHE_CLEAR = "if>50%"  # of the card, as Ultralytics does since 8.3.110


def readings(verification: Verification) -> str:
    """One row for each training that came to its end; nothing in it names a person or a file."""
    return csv_text(COLUMNS, _rows(verification))


def _rows(verification: Verification) -> Iterator[dict[str, object]]:
    device = verification.device
    for verified in verification.setups:
        for tried in verified.tried:
            if tried.result.outcome is Outcome.COMPLETE:
                yield _row(tried) | {"gpu": device.name, "source": f"{device.source}{EQUAL}"}


def _row(tried: Tried) -> dict[str, object]:
    """What Ultralytics would have printed in the only epoch: reserved memory while training."""
    config, result, setup = tried.cell.config, tried.result, tried.cell.setup
    reserved_gib = result.memory.train_reserved_gib if result.memory else None
    printed = "" if reserved_gib is None else round(reserved_gib, 3)
    own_file = setup.model == config.model  # whose name is the user's
    return {
        "model": "" if own_file else setup.model,
        "batch": config.batch,
        "imgsz": config.imgsz,
        "amp": bool(config.amp),  # fp16 and bf16 take the same
        "ultralytics_version": result.settings.get("ultralytics", ""),
        "torch_version": result.settings.get("torch", ""),
        "nc": config.nc,
        "optimizer": config.optimizer,
        "gpu_mem_gb": printed,
        "unit": UNIT,
        "epoch_seen": 1,
        "gpu_mem_max_gb": printed,
        "n_epochs_seen": 1,
        "cache_clear": CACHE_CLEAR,
        "n_train_images": BATCHES * config.batch,
        "instances_max": config.batch * fullest_image(config),
    }
