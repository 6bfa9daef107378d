"""What errors stand for, on an emulated card that has memory left or not."""

import inspect

import pytest
import torch

from sweeper.training.endings import Diverged, OutOfMemory, classify
from sweeper.trial.record import Ending
from tests.training.test_device import meter

CLASSIFY = """
from sweeper.training.endings import OutOfMemory, classify
def ending_of(error):
    ending, message = classify(error, meter)
    answer(ending=ending, message=message)
"""
FULL = "held = fill()"
HALF = "held = take(1)"
EMPTY_AGAIN = "held = fill(); del held[:]; torch.cuda.empty_cache()"  # as Ultralytics does


def test_the_colours_of_a_terminal_do_not_come_into_a_reason() -> None:
    error = ValueError("\x1b[34m\x1b[1mtrain: \x1b[0mNo labels found in x.cache.\nmore")
    assert classify(error, None) == (
        Ending.ERROR,
        "ValueError: train: No labels found in x.cache.",
    )
    assert classify(ValueError("\x1b[0m"), None) == (Ending.ERROR, "ValueError: ValueError")


@pytest.mark.parametrize(
    ("said", "before", "ending", "remark"),
    [
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", HALF, Ending.ERROR, "not short of memory"),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED", HALF, Ending.ERROR, "not short of memory"),
        ("GET was unable to find an engine", HALF, Ending.ERROR, "not short of memory"),
        ("CUDA error: out of memory", HALF, Ending.ERROR, "not short of memory"),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", FULL, Ending.OUT_OF_MEMORY, ""),
        ("GET was unable to find an engine", EMPTY_AGAIN, Ending.OUT_OF_MEMORY, ""),
        ("CUDA error: an illegal memory access", FULL, Ending.ERROR, ""),
    ],
)
def test_what_libraries_say_counts_at_the_cap_only(
    card, make_spec, said: str, before: str, ending: Ending, remark: str
) -> None:
    script = f"{CLASSIFY}\nmeter.start()\n{before}\nending_of(RuntimeError({said!r}))"
    seen = meter(card(gib=8), make_spec(limit_gib=2.0, context_gib=0.25), script)
    assert seen["ending"] == ending
    assert seen["message"].startswith(f"RuntimeError: {said}")
    assert remark in seen["message"] and bool(remark) == seen["message"].endswith(".")


@pytest.mark.parametrize(
    "again", ["raise", 'ExceptionWrapper(where="in pin memory thread for device 0").reraise()']
)
def test_host_memory_that_cannot_be_pinned_says_nothing_of_the_card(
    card, make_spec, again: str
) -> None:
    """Without workers the loader pins in this thread, else in one that hands its error over."""
    script = f"""
        import resource
        from torch._utils import ExceptionWrapper
        from torch.utils.data import DataLoader
        meter.start()
        held = fill()
        images = [torch.empty(GIB, dtype=torch.uint8)]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + GIB // 2,) * 2)
        try:
            try:
                next(iter(DataLoader(images, batch_size=None, pin_memory=True)))
            except RuntimeError:
                {again}
        except RuntimeError as error:
            assert "CUDA error: out of memory" in str(error)
            ending_of(error)
    """
    spec = make_spec(limit_gib=2.0, context_gib=0.25)
    seen = meter(card(gib=8), spec, CLASSIFY + inspect.cleandoc(script))
    assert seen["ending"] == Ending.ERROR
    assert seen["message"].endswith("lower batch or train.workers.")


def test_a_context_that_an_error_has_spoilt_is_not_asked(card, make_spec) -> None:
    script = """
        meter.start()
        def spoilt(device):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        torch.cuda.mem_get_info = spoilt
        ending_of(RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"))
    """
    spec = make_spec(limit_gib=2.0, context_gib=0.25)
    seen = meter(card(gib=8), spec, CLASSIFY + inspect.cleandoc(script))
    assert seen["ending"] == Ending.ERROR


def test_a_convolution_without_room_for_its_workspace_is_out_of_memory(card, make_spec) -> None:
    script = """
        meter.start()
        weight = torch.zeros(8, 8, 3, 3, device="cuda")
        images = torch.zeros(1, 8, 32, 32, device="cuda")
        held = fill()
        try:
            torch.nn.functional.conv2d(images, weight)
        except Exception as error:
            ending_of(error)
    """
    machine = card(gib=8, workspace_mib=100)
    spec = make_spec(limit_gib=2.0, context_gib=0.25)
    seen = meter(machine, spec, CLASSIFY + inspect.cleandoc(script))
    assert seen["ending"] == Ending.OUT_OF_MEMORY
    assert "unable to find an engine" in seen["message"]


def test_a_card_that_is_full_of_others_has_no_room_for_a_context(card, make_spec) -> None:
    machine = card(gib=4)
    script = """
        from sweeper.training.device import DeviceMeter, NoContext
        from sweeper.training.endings import classify
        try:
            DeviceMeter({spec!r}, "{uuid}")
        except NoContext as error:
            answer(ending=classify(error, None)[0])
    """
    with machine.neighbour(3.9):
        seen = machine.run(
            "from sweeper.trial.spec import TrialSpec\n"
            + inspect.cleandoc(script.format(spec=make_spec(), uuid=machine.uuids[0]))
        )
    assert seen == {"ending": Ending.OUT_OF_MEMORY}


def test_without_a_gpu_only_torchs_own_error_is_out_of_memory() -> None:
    asked = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
    ended = Ending.OUT_OF_MEMORY, "CUDA out of memory: tried to allocate 2.00 GiB."
    assert classify(asked, None) == ended
    try:
        try:
            raise asked
        except torch.OutOfMemoryError:
            raise OutOfMemory("batch=4 ran out of device memory")  # noqa: B904
    except OutOfMemory as error:
        assert classify(error, None) == ended
    assert classify(OutOfMemory("the target assigner"), None)[0] is Ending.OUT_OF_MEMORY
    assert classify(Diverged("nan"), None) == (Ending.DIVERGED, "nan")
    assert classify(RuntimeError("out of memory"), None)[0] is Ending.ERROR
