"""OpenCV on a system that lacks what it links to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper.doctor.finding import Level
from sweeper.doctor.opencv import check_opencv
from sweeper.doctor.torch_build import check_torch
from sweeper.errors import SweeperError
from sweeper.memory.predict.parallel import in_children

NO_GL = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cv2 that fails to load, before the real one."""
    (tmp_path / "cv2.py").write_text(f"raise ImportError({NO_GL!r})\n")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", path)
    return tmp_path


def test_a_missing_library_of_the_system_is_said_with_what_to_install(broken: Path) -> None:
    found = check_opencv()
    assert found.level is Level.FAILURE
    assert "this system has no libGL.so.1" in found.text
    assert "apt-get install libgl1 libglib2.0-0" in found.remedy
    assert check_torch(()) == [found], "which imports it too"


def test_another_fault_of_opencv_is_said_as_it_is(broken: Path) -> None:
    (broken / "cv2.py").write_text("raise ImportError('numpy is too old')\n")
    assert "cannot be imported: ImportError: numpy is too old" in check_opencv().text


def _fail(text: str) -> None:
    raise ImportError(text)


def test_a_plan_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(SweeperError, match=r"libGL.*python -m sweeper\.doctor says what to do"):
        in_children(_fail, [[NO_GL]])


def test_a_study_does_not_start_without_it(broken: Path, tmp_path: Path) -> None:
    from tests.test_end_to_end import sweeper

    done = sweeper(tmp_path, "-m", "batch=2,4", f"runs_dir={tmp_path}/runs")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "opencv: cannot be imported: this system has no libGL.so.1" in done.stderr
