"""What an emulated machine consists of, and how a process is told."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.errors import EmulatorError

MIB_PER_GIB = 2**10
MAX_CARDS = 8
NAME_LENGTH = 95
NAME = "Emulated"  # every card's name begins with it: no record can take one for a physical GPU

Pids = Literal["shown", "container", "zero", "host", "wsl"]

# Names of the libraries in the folder that `build` returns.
CARD_LIBRARY = "libemulated_card.so"
NVRTC_LIBRARY = "libnvrtc.so.13"


@dataclass(frozen=True, slots=True)
class Card:
    """One card.

    Attributes:
        gib: Memory as NVML reports it, GiB.
        name: Product name; "Emulated" is put before it where it is missing.
        capability: CUDA compute capability; torch has no kernels below 7.5.
    """

    gib: float = 24.0
    name: str = ""
    capability: str = "8.6"

    @property
    def title(self) -> str:
        """The name that the card answers to."""
        own = self.name or f"{self.gib:g} GB"
        return own if own.startswith(NAME) else f"{NAME} {own}"

    def describe(self) -> str:
        """The card as EMULATOR_CARDS has it.

        Raises:
            EmulatorError: A value cannot work.
        """
        major, dot, minor = self.capability.partition(".")
        if self.gib <= 0:
            raise EmulatorError(f"a card must have some memory but got {self.gib:g} GiB.")
        if not (major.isdigit() and dot and minor.isdigit()):
            raise EmulatorError(
                f"capability must be two numbers but got {self.capability}, e.g. 8.6."
            )
        if set(self.title) & set(",\n") or len(self.title.encode()) > NAME_LENGTH:
            raise EmulatorError(f"name must be short and without a comma but got {self.title!r}.")
        mib = math.ceil(self.gib * MIB_PER_GIB)  # a card has no less than was asked for
        return f"{mib}:{self.capability}:{self.title}"


@dataclass(frozen=True, slots=True)
class Machine:
    """The cards of a machine and its driver.

    Attributes:
        cards: In the order of the PCI bus.
        driver: Version of the driver.
        cuda: Newest CUDA that the driver knows.
        driver_mib: What the driver keeps of each card, MiB.
        context_mib: What a CUDA context takes, MiB.
        kernels_mib: By how much the first kernel makes the context grow, MiB.
        workspace_mib: What each of cuDNN's convolutions asks torch's allocator for, MiB.
        pids: What NVML tells of processes: all; none, as in most containers; in others ``zero``
            for what each holds, or pids of the ``host``; pids alone, as under ``wsl``.
        compute: ``light`` gives zeros for expensive operators, where only memory matters.
        strict: End a process that calls what is not implemented, instead of saying so.
    """

    cards: tuple[Card, ...] = (Card(),)
    driver: str = "580.65.06"
    cuda: str = "13.0"
    driver_mib: int = 0
    context_mib: int = 300
    kernels_mib: int = 0
    workspace_mib: int = 0
    pids: Pids = "shown"
    compute: Literal["all", "light"] = "all"
    strict: bool = False

    def variables(self) -> dict[str, str]:
        """The machine as environment variables.

        Raises:
            EmulatorError: A value cannot work.
        """
        if not 0 < len(self.cards) <= MAX_CARDS:
            raise EmulatorError(f"there can be 1 to {MAX_CARDS} cards but got {len(self.cards)}.")
        return {
            "EMULATOR_CARDS": ",".join(card.describe() for card in self.cards),
            "EMULATOR_DRIVER": self.driver,
            "EMULATOR_CUDA": self.cuda,
            "EMULATOR_DRIVER_MIB": str(self.driver_mib),
            "EMULATOR_CONTEXT_MIB": str(self.context_mib),
            "EMULATOR_KERNELS_MIB": str(self.kernels_mib),
            "EMULATOR_WORKSPACE_MIB": str(self.workspace_mib),
            "EMULATOR_PIDS": self.pids,
            "EMULATOR_COMPUTE": self.compute,
            "EMULATOR_STRICT": "1" if self.strict else "",
        }


def environment(
    machine: Machine, libraries: Path, state: str, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment in which a process finds the machine's cards, and no others.

    Args:
        machine: The machine.
        libraries: The folder that ``build`` returned.
        state: Path of the table that the machine's processes share, from `shared_table`.
        base: The rest of the environment; this process's own if None.
    """
    rest = dict(os.environ if base is None else base)
    rest.pop("CUDA_VISIBLE_DEVICES", None)  # it speaks of other cards
    preload = [str(libraries / name) for name in (CARD_LIBRARY, NVRTC_LIBRARY)]
    search = [str(libraries), *filter(None, [rest.get("LD_LIBRARY_PATH")])]
    return {
        **rest,
        **machine.variables(),
        "EMULATOR_STATE": state,
        "LD_PRELOAD": ":".join(preload),
        "LD_LIBRARY_PATH": ":".join(search),
        # The TorchScript fuser compiles kernels of its own, which nothing could compute.
        "PYTORCH_TENSOREXPR": "0",
    }


def is_emulated() -> bool:
    """Whether this process runs on an emulated machine."""
    return bool(os.environ.get("EMULATOR_CARDS"))


@contextmanager
def shared_table() -> Iterator[str]:
    """Path of a new table of who holds how much; it lasts as long as this process at most."""
    file = open_table()
    try:
        yield f"/proc/{os.getpid()}/fd/{file}"
    finally:
        os.close(file)


def open_table() -> int:
    """A file without a name, which leaves nothing behind however its processes end."""
    return os.memfd_create("emulated-cards", 0)  # a process that this one becomes keeps it
