"""The kernels that are loaded ahead, beside those of a real training."""

import pytest

from tests.training.test_on_card import train

# Of a convolution or an optimizer's step: name, types, and whether weights are channels-last.
OPERATORS = """
from torch.utils._python_dispatch import TorchDispatchMode
from sweeper.training.kernels import load_kernels
class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = set()
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if "convolution" in func.name() or "_fused_" in func.name():
            tensors = [t for t in args if torch.is_tensor(t)]
            last = [t.is_contiguous(memory_format=torch.channels_last) for t in tensors[-1:]]
            self.seen.add((func.name(), str([t.dtype for t in tensors]), str(last)))
        return result
spec = TrialFolder(Path("spec")).read_spec()
with Operators() as training:
    train("trial")
with Operators() as ahead:
    load_kernels(spec.amp, spec.optimizer)
answer(ahead=sorted(ahead.seen), others=sorted(ahead.seen - training.seen))
"""


@pytest.mark.parametrize("amp", [True, "bf16"])
def test_the_kernels_loaded_ahead_are_those_that_train(card, make_spec, amp: bool | str) -> None:
    spec = make_spec(epochs=1, batch=12, amp=amp, optimizer="AdamW", limit_gib=3.0)
    seen = train(card(gib=4, compute="light"), spec, OPERATORS)
    names = {name for name, *_ in seen["ahead"]}
    assert names == {"aten::convolution", "aten::convolution_backward", "aten::_fused_adamw_"}
    assert seen["others"] == []
