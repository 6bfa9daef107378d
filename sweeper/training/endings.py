"""Why a training ends before its time, and what an error that ended it stands for."""

from __future__ import annotations

import re
import traceback

import torch

from sweeper.errors import first_line
from sweeper.training.device import DeviceMeter, NoContext
from sweeper.trial.record import Ending

# What driver, cuBLAS and cuDNN say when device memory is short, and for other reasons too;
# Ultralytics' own list.
SIGNS_OF_SHORTAGE = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "unable to find an engine",
)
NOT_SHORT = "The GPU was not short of memory, so that this says nothing about the cell."
PINNING = "pin_memory.py"  # of torch's data loader: what it takes is the host's
NOT_PINNED = "The host had no memory to pin: lower batch or train.workers."


class Diverged(Exception):
    """The loss, the gradients or the fitness are not finite any more, and will not be again."""


class AmpRefused(Exception):
    """Ultralytics or the card does not have the autocast that the trial asks for."""


class Stopped(Exception):
    """The parent asked the trial to stop."""


class OutOfMemory(Exception):
    """A forward or backward pass ran out of device memory."""


class TooShort(Exception):
    """The run has fewer micro-batches than one optimizer step needs."""


ENDINGS = {
    AmpRefused: Ending.AMP_REFUSED,
    Diverged: Ending.DIVERGED,
    Stopped: Ending.STOPPED,
    TooShort: Ending.TOO_SHORT,
}


def classify(error: Exception, meter: DeviceMeter | None) -> tuple[Ending, str]:
    """The ending that an exception stands for, and what happened in one line.

    What torch's allocator raises is out of memory. What the libraries say may have other causes:
    it counts where the allocator was at its cap.

    Args:
        error: What ended the training.
        meter: That of its GPU; None on the CPU.
    """
    cause = (error.__context__ or error) if isinstance(error, OutOfMemory) else error
    line = first_line(cause)
    if isinstance(cause, OutOfMemory | NoContext | torch.OutOfMemoryError):
        return Ending.OUT_OF_MEMORY, _one_sentence(line)
    for kind, ending in ENDINGS.items():
        if isinstance(error, kind):
            return ending, line
    line = f"{type(cause).__name__}: {line}"
    if meter is None or not isinstance(cause, RuntimeError) or not _sounds_short(cause):
        return Ending.ERROR, line
    if PINNING in "".join(traceback.format_exception(cause)):
        return Ending.ERROR, f"{line} {NOT_PINNED}"
    if not meter.is_short():
        return Ending.ERROR, f"{line} {NOT_SHORT}"
    return Ending.OUT_OF_MEMORY, line


def _sounds_short(error: RuntimeError) -> bool:
    return any(sign in str(error) for sign in SIGNS_OF_SHORTAGE)


def _one_sentence(line: str) -> str:
    """Torch's paragraph about memory cut to what it asked for; log.txt has the rest."""
    asked = re.match(r"(.*?out of memory)\. Tried( to allocate [\d.]+ \w+\.)", line)
    return f"{asked[1]}: tried{asked[2]}" if asked else line
