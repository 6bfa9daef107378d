"""A fork server that preloads torch and ultralytics must leave CUDA alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.memory.stub_driver import Driver

# The child sees what the server did before the fork: torch marks a fork after cuInit as bad.
SERVER = """
import multiprocessing
def look(pipe):
    loaded = [name for name in {names!r} if name in sys.modules]
    import torch
    pipe.send((loaded, torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork()))
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload({names!r})
    ours, theirs = context.Pipe()
    child = context.Process(target=look, args=(theirs,))
    child.start()
    loaded, touched = ours.recv()
    child.join()
    answer(loaded=loaded, touched=touched)
"""

GPU = "device GPU-a 24576 0 NVIDIA GeForce RTX 3090\n"
NVML_CHECK = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}

# A module that does what training code at import may do.
ASKS = "import torch\navailable = torch.cuda.is_available()\n"


def serve(driver: Driver, names: list[str], scenario: str, **environ: str) -> dict[str, Any]:
    (driver.folder / "asks.py").write_text(ASKS)
    return driver.run(SERVER.format(names=names), scenario, **environ)


def test_preloading_torch_and_ultralytics_never_calls_cuinit(driver: Driver) -> None:
    names = ["torch", "ultralytics"]
    seen = serve(driver, names, GPU, **NVML_CHECK)
    assert seen == {"loaded": names, "touched": False}
    assert not driver.cuda_log.exists()


def test_the_real_preload_never_calls_cuinit(driver: Driver) -> None:
    names = ["sweeper.executors.preload"]
    seen = serve(driver, names, GPU, CUDA_VISIBLE_DEVICES="", **NVML_CHECK)
    assert seen == {"loaded": names, "touched": False}
    assert not driver.cuda_log.exists()


def test_the_nvml_check_keeps_a_question_for_cuda_away_from_cuinit(driver: Driver) -> None:
    seen = serve(driver, ["asks"], GPU, **NVML_CHECK)
    assert seen == {"loaded": ["asks"], "touched": False}
    assert not driver.cuda_log.exists()


def test_hidden_devices_keep_it_away_also_without_nvml(driver: Driver) -> None:
    seen = serve(driver, ["asks"], "init 9", CUDA_VISIBLE_DEVICES="", **NVML_CHECK)
    assert seen == {"loaded": ["asks"], "touched": False}
    assert not driver.cuda_log.exists()


@pytest.mark.parametrize(
    ("scenario", "environ"),
    [
        (GPU, {}),  # without the NVML check
        # The check falls back to cuInit where NVML does not answer (torch warns of it) …
        ("init 9", {**NVML_CHECK, "PYTHONWARNINGS": "ignore"}),
        (GPU, {**NVML_CHECK, "CUDA_VISIBLE_DEVICES": "MIG-one"}),  # … and for MIG
    ],
)
def test_a_server_that_does_touch_cuda_is_caught(
    driver: Driver, scenario: str, environ: dict[str, str]
) -> None:
    seen = serve(driver, ["asks"], scenario, **environ)
    assert seen == {"loaded": ["asks"], "touched": True}
    assert driver.cuda_log.read_text().startswith("cuInit ")
