"""Batch x accumulate x AMP sweeps for YOLO11 under a hard memory budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.vram.predict import predict_vram

__all__ = ["predict_vram"]


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562): `import sweeper` must cost nothing in the fork server."""
    if name in __all__:
        from sweeper.vram import predict

        return getattr(predict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
