"""A driver made of C stubs, for scripts that run in a process of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

STUBS = Path(__file__).parent / "stubs"
ROOT = Path(__file__).parents[2]

# What every script can use; the scenario is replaced in one step, the stub never reads half.
PRELUDE = """
import json, os, subprocess, sys, time
def scenario(text):
    path = os.environ["NVML_STUB"]
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)
def answer(**values):
    print(json.dumps(values))
"""


@dataclass(frozen=True)
class Driver:
    """The stub libraries, one scenario file and one log of cuInit calls."""

    libraries: Path
    folder: Path

    @property
    def cuda_log(self) -> Path:
        return self.folder / "cuda.log"

    def run(self, script: str, scenario: str = "", **environ: str) -> dict[str, Any]:
        """Run a script against the scenario and return what it handed to ``answer``."""
        (self.folder / "scenario").write_text(scenario)
        file = self.folder / "script.py"
        file.write_text(PRELUDE + textwrap.dedent(script))
        environ = {
            **{key: value for key, value in os.environ.items() if "CUDA_" not in key},
            # Libraries are searched for when a process starts, hence a process of its own.
            "LD_LIBRARY_PATH": str(self.libraries),
            "NVML_STUB": str(self.folder / "scenario"),
            "CUDA_STUB_LOG": str(self.cuda_log),
            "YOLO_CONFIG_DIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "error",
            **environ,
        }
        done = subprocess.run(
            [sys.executable, str(file)],
            env=environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))


def build_stub(source: str, library: Path, *flags: str) -> None:
    """Compile one stub; without a C compiler the test is skipped."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc or gcc) to build the driver stubs")
    command = [compiler, "-shared", "-fPIC", *flags, "-o", str(library), str(STUBS / source)]
    subprocess.run([*command, "-ldl"], check=True)
