"""How the tools beside the study are started."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.tools import run_tool

ROOT = Path(__file__).parents[1]

TOOLS = ("deploy", "doctor", "gpu_check", "plan", "report", "studies")


@pytest.mark.parametrize("tool", ["deploy", "doctor", "gpu_check", "report", "studies"])
def test_help_is_what_a_tool_says_of_itself(tool: str) -> None:
    words = [sys.executable, "-m", f"sweeper.{tool}", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith(f"``python -m sweeper.{tool} [")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_arguments_of_a_study_may_be_pasted(
    monkeypatch: pytest.MonkeyPatch, returned: int | None, code: int
) -> None:
    heard: list[str] = []

    def main(arguments: list[str]) -> int | None:
        heard.extend(arguments)
        return returned

    monkeypatch.setattr(sys, "argv", ["tool", "-m", "batch=2", "--json"])
    with pytest.raises(SystemExit) as ended:
        run_tool(main, "about")
    assert (ended.value.code, heard) == (code, ["batch=2", "--json"])


@pytest.mark.parametrize("module", ["sweeper", *(f"sweeper.{t}" for t in TOOLS)])
def test_stopped_while_it_imports_a_tool_says_nothing(module: str) -> None:
    script = f"""
import runpy, sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "hydra":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop())
sys.argv = [{module!r}]
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_has_enough_is_no_error() -> None:
    shell = f"{sys.executable} -m sweeper.plan --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_python_without_what_sweeper_needs_is_told_how_to_get_it(tmp_path: Path) -> None:
    bare = [sys.executable, "-S", "-m", "sweeper"]
    done = subprocess.run(
        bare, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "is not installed for" in done.stderr and "make install" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_stdout_is_no_error() -> None:
    shell = f"{sys.executable} -m sweeper.plan --help >&-"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
