"""Fixtures of the stub driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vram.stub_driver import Driver, build_stub


@pytest.fixture(scope="session")
def stub_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stubs, compiled once."""
    folder = tmp_path_factory.mktemp("driver")
    build_stub("nvml_stub.c", folder / "libnvidia-ml.so.1")
    build_stub("cuda_stub.c", folder / "libcuda.so.1")
    return folder


@pytest.fixture
def driver(stub_libraries: Path, tmp_path: Path) -> Driver:
    return Driver(stub_libraries, tmp_path)
