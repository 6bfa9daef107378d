"""The server that this process forks its children from, with what they need imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from types import TracebackType

# To a whole process group; the server lives as long as the process that started it.
PARENTS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def start_fork_server(preload: str) -> None:
    """Start it, unless it runs, and let it import the module ``preload`` while the caller goes on.

    The module must leave CUDA alone and begin with `become_server`.
    """
    # torch then counts GPUs through NVML, and the fork server stays free of CUDA state.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("MPLBACKEND", "Agg")
    multiprocessing.get_context("forkserver").set_forkserver_preload([preload])
    with _held_signals():  # the tracker unblocks those that it ignores itself, and stays so
        resource_tracker.ensure_running()  # apart, as it lets signals in here
    with _hidden_gpus(), _held_signals():
        forkserver.ensure_running()


def become_server() -> None:
    """Within the server: leave signals to the parent, and children that it left to themselves.

    A child whose parent has ended while it started does not find the parent's locks, which are
    files without a name; nobody is left to be told.
    """
    for number in PARENTS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS)
    sys.excepthook = _tell_all_but_lost_locks


def _tell_all_but_lost_locks(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not isinstance(error, FileNotFoundError) or error.filename is not None:
        sys.__excepthook__(kind, error, trace)


@contextmanager
def _held_signals() -> Iterator[None]:
    """Hold signals back from a process that starts, until it can say what it does about them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
