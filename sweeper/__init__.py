"""Batch x accumulate x AMP sweeps for YOLO11 under a hard memory budget."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.memory.predict.prediction import predict_vram
    from sweeper.report import plots
    from sweeper.report.notebook import load_study

__all__ = ["load_study", "plots", "predict_vram"]

# Where each public name is defined: a module, and a name in it; empty for the module itself.
_HOMES = {
    "load_study": ("sweeper.report.notebook", "load_study"),
    "plots": ("sweeper.report.plots", ""),
    "predict_vram": ("sweeper.memory.predict.prediction", "predict_vram"),
}


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562): `import sweeper` must cost nothing in the fork server."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    home = import_module(module)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return [*__all__]
