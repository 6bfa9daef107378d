"""What is not implemented is said aloud, never taken for success."""

import re

import pytest

from sweeper.emulator.stubs import HARMLESS

# Each with what the card says: an unsupported function, a kernel that nobody stands in for.
CALLS = {
    "torch.cuda.cudart().cudaProfilerStart(); ctypes.CDLL(None).cudaGraphLaunch(0, 0)": (
        "no implementation of: cudaGraphLaunch"
    ),
    "torch.ops.aten._flash_attention_forward(*[x] * 3, None, None, 8, 8, 0.0, False, False)": (
        "nothing is computed in place of kernel: .*flash"
    ),
}
SCRIPT = """
    import ctypes
    x = torch.ones(1, 8, 2, 32, dtype=torch.float16, device="cuda")
    for _ in range(2):
        {call}
    answer(done=True)
"""


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_an_implementation_is_said_once_and_ends_a_strict_process(
    card, call: str
) -> None:
    script, said = SCRIPT.format(call=call), f"emulated card: {CALLS[call]}"
    strict = card().attempt(script)
    assert strict.code == -6 and re.search(said, strict.err)
    usual = card(strict=False).attempt(script)
    assert usual.code == 0 and len(re.findall(said, usual.err)) == 1


def test_what_fails_on_the_card_fails_with_an_error_not_with_zeros(card) -> None:
    done = card(strict=False).attempt("""
        import ctypes
        torch.cuda.init()
        answer(code=ctypes.CDLL(None).cudaIpcGetMemHandle(None, None))
    """)
    assert '"code": 801' in done.out  # cudaErrorNotSupported


def test_the_harmless_functions_are_few_and_only_set_what_nobody_reads() -> None:
    assert len(HARMLESS) < 20
    assert all("Set" in name or "Profiler" in name for name in HARMLESS)
