"""Builds the emulator's libraries once for each torch and each state of the sources."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweeper.emulator import stubs
from sweeper.emulator.machine import CARD_LIBRARY, NVRTC_LIBRARY
from sweeper.emulator.toolchain import Torch, find_compilers, find_headers, find_torch
from sweeper.errors import EmulatorError

SOURCES = Path(__file__).parent / "src"
OPERATORS_LIBRARY = "libemulated_operators.so"
# Under these names the driver's libraries are looked for; the loader maps one file once.
DRIVER_NAMES = ("libcuda.so.1", "libnvidia-ml.so.1")

C_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra")
CXX_FLAGS = ("-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
# Unversioned and first in the process, so that they come before NVIDIA's own.
EXPORTS = "{{ global: {}; local: *; }};"
CARD_EXPORTS = EXPORTS.format("cu*; __cuda*; nvml*; emulator_*")
NVRTC_EXPORTS = f"{NVRTC_LIBRARY} {EXPORTS.format('nvrtc*')}"


def cache_folder() -> Path:
    """Where builds are kept: beside the torch they are for, or at home if that is not ours."""
    own = Path(sys.prefix)
    place = own / "share" if os.access(own, os.W_OK) else Path.home() / ".cache"
    return place / "sweeper" / "emulator"


def build(say: Callable[[str], None] = lambda text: None) -> Path:
    """The folder with the libraries; built first if need be, by one process at a time.

    Args:
        say: Hears that a build, which takes half a minute, begins.

    Raises:
        EmulatorError: Something that building needs is missing, or a compiler failed.
    """
    torch = find_torch()
    cache = cache_folder()
    built = cache / f"torch-{torch.version}-{_digest()}"
    if built.exists():
        return built
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            say(f"building the emulated card for torch {torch.version}, about half a minute")
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                _build(torch, cache, Path(scratch)).rename(built)
    return built


def _digest() -> str:
    """Of everything that a build depends on besides torch and the compilers."""
    parts = [*sorted(SOURCES.iterdir()), Path(__file__), Path(stubs.__file__)]
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:16]


def _build(torch: Torch, cache: Path, scratch: Path) -> Path:
    gcc, gxx = find_compilers()
    includes = [f"-I{folder}" for folder in find_headers(torch, cache)]
    cc = [gcc, *C_FLAGS, f"-I{SOURCES}", *includes]
    cxx = [gxx, *CXX_FLAGS, "-isystem", str(torch.folder / "include")]
    out = scratch / "lib"
    out.mkdir()

    # The C++ sources take longest: they go first, one to a core.
    sources = sorted(SOURCES.glob("*.cpp")) + sorted(SOURCES.glob("*.c"))
    objects = {source.name: scratch / f"{source.name}.o" for source in sources}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        commands = (
            [*(cxx if source.suffix == ".cpp" else cc), "-c", "-o", str(target), str(source)]
            for source, target in zip(sources, objects.values(), strict=True)
        )
        list(pool.map(_run, commands))

    nvrtc = objects.pop("nvrtc.c")
    operators = [objects.pop(name) for name in list(objects) if name.endswith(".cpp")]
    generated = scratch / "stubs.c"
    generated.write_text(stubs.write_stubs(torch.site, objects.values()), encoding="utf-8")
    _run([*cc, "-c", "-o", str(scratch / "stubs.o"), str(generated)])

    _link(gcc, out / CARD_LIBRARY, [*objects.values(), scratch / "stubs.o"], CARD_EXPORTS)
    _link(gcc, out / NVRTC_LIBRARY, [nvrtc], NVRTC_EXPORTS, f"-Wl,-soname,{NVRTC_LIBRARY}")
    torch_libraries = (f"-L{torch.folder / 'lib'}", "-ltorch_cpu", "-lc10")
    _run([gxx, "-shared", "-o", str(out / OPERATORS_LIBRARY), *map(str, operators),
          *torch_libraries])  # fmt: skip
    for name in DRIVER_NAMES:
        (out / name).symlink_to(CARD_LIBRARY)
    return out


def _link(gcc: str, library: Path, objects: Sequence[Path], exports: str, *flags: str) -> None:
    script = library.parent.parent / f"{library.name}.map"
    script.write_text(exports, encoding="utf-8")
    _run([gcc, "-shared", *flags, f"-Wl,--version-script={script}", "-o", str(library),
          *map(str, objects), "-ldl", "-lpthread"])  # fmt: skip


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EmulatorError(
            f"{Path(command[0]).name} failed on {Path(command[-1]).name}:\n{done.stderr.strip()}"
        )
