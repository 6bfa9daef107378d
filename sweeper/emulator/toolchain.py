"""What building needs of this machine: torch's CUDA build, compilers, NVIDIA's headers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sweeper.errors import EmulatorError

CUDA_MAJOR = "13"
# What nvidia-cuda-runtime's headers include and its wheel lacks; goes with torch's CUDA.
CRT_WHEEL = "nvidia-cuda-crt==13.0.88"


@dataclass(frozen=True, slots=True)
class Torch:
    """An installed torch: the folder it is in, and its version."""

    site: Path
    version: str

    @property
    def folder(self) -> Path:
        """The package itself."""
        return self.site / "torch"


def find_torch() -> Torch:
    """Torch as Python would import it, which does not happen here.

    Raises:
        EmulatorError: There is none, or not one for the CUDA that is emulated.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise EmulatorError("torch is not installed. Install sweeper: pip install .")
    folder = Path(spec.origin).parent
    text = (folder / "version.py").read_text(encoding="utf-8")
    version, cuda = (
        found[1] if (found := re.search(rf"^{name}\b.*= '(.+)'", text, re.MULTILINE)) else ""
        for name in ("__version__", "cuda")
    )
    if cuda.partition(".")[0] != CUDA_MAJOR or not (folder / "lib/libtorch_cuda.so").exists():
        built = f"for CUDA {cuda}" if cuda else "without CUDA"
        raise EmulatorError(
            f"an emulated card runs torch's build for CUDA {CUDA_MAJOR}, but torch {version} is "
            f"built {built}. Install the CUDA build; no GPU is needed for it: see pytorch.org."
        )
    return Torch(folder.parent, version)


def find_compilers() -> tuple[str, str]:
    """Paths of gcc and g++.

    Raises:
        EmulatorError: One of them, or nm, is missing.
    """
    missing = [name for name in ("gcc", "g++", "nm") if shutil.which(name) is None]
    if missing:
        raise EmulatorError(
            f"building the emulated card needs {', '.join(missing)}. "
            "Install them, e.g. apt-get install gcc g++."
        )
    return shutil.which("gcc") or "gcc", shutil.which("g++") or "g++"


def find_headers(torch: Torch, cache: Path) -> list[Path]:
    """The folders of NVIDIA's headers; what torch's dependencies lack is fetched into the cache.

    Raises:
        EmulatorError: Headers are missing.
    """
    folders = [torch.site / "nvidia/cu13/include", torch.site / "nvidia/cudnn/include"]
    for folder, file in zip(folders, ("cuda_runtime_api.h", "cudnn.h"), strict=True):
        if not (folder / file).exists():
            raise EmulatorError(
                f"{folder / file} is missing, which comes with torch's dependencies. Install "
                "them again: pip install --force-reinstall torch."
            )
    return [*folders, _crt_headers(cache)]


def _crt_headers(cache: Path) -> Path:
    """The headers of `CRT_WHEEL`, which nobody needs to have installed."""
    unpacked = cache / CRT_WHEEL.replace("==", "-")
    headers = unpacked / "nvidia/cu13/include"
    if headers.exists():
        return headers
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*pip, "--only-binary=:all:", "--dest", scratch, CRT_WHEEL],
            capture_output=True,
            text=True,
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise EmulatorError(
                f"NVIDIA's headers could not be fetched ({said}). Without a connection, put the "
                f"wheel of {CRT_WHEEL} into a folder and set PIP_FIND_LINKS to it."
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(Path(scratch) / "wheel")
        (Path(scratch) / "wheel").rename(unpacked)
    return headers
