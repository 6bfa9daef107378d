"""Batch x accumulate x AMP sweeps for YOLO11 under a hard memory budget."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.memory.predict.prediction import predict_vram
    from sweeper.report.notebook import load_study

__all__ = ["load_study", "predict_vram"]

_HOMES = {
    "load_study": "sweeper.report.notebook",
    "predict_vram": "sweeper.memory.predict.prediction",
}


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562): `import sweeper` must cost nothing in the fork server."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
