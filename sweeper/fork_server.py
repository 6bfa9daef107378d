"""The server that this process forks its children from, with what they need imported."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver


def start_fork_server(preload: str) -> None:
    """Start it, unless it runs, and let it import the module ``preload`` while the caller goes on.

    The module must leave CUDA alone.
    """
    # torch then counts GPUs through NVML, and the fork server stays free of CUDA state.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("MPLBACKEND", "Agg")
    multiprocessing.get_context("forkserver").set_forkserver_preload([preload])
    with _hidden_gpus():
        forkserver.ensure_running()


@contextmanager
def _hidden_gpus() -> Iterator[None]:
    """Hide every GPU while the fork server starts; each child is shown its own by UUID.

    Without NVML, or with a MIG UUID, torch counts devices through cuInit, and a process forked
    after cuInit cannot use CUDA.
    """
    key = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(key)
    os.environ[key] = ""
    try:
        yield
    finally:
        os.environ.pop(key)
        if before is not None:
            os.environ[key] = before
