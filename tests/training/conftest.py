"""Trainings in this process leave nothing that still writes when their folders are removed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def drawn(tmp_path: Path) -> Iterator[None]:
    """Wait for the pictures of first batches: Ultralytics draws them in threads of their own."""
    yield
    for thread in threading.enumerate():
        if "plot_images" in thread.name:
            thread.join()
