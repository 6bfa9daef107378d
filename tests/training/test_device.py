"""The child's meter, against the stand-in for torch.cuda."""

import pytest

from sweeper.numbers import GIB
from sweeper.training.device import DeviceMeter
from sweeper.trial.record import MEASURED
from tests.memory.measure.test_cuda import FakeCuda


@pytest.mark.parametrize(
    ("total_gib", "held_gib", "limit_gib", "said"),
    [
        (24, 0.3, 23.65, ""),  # what a driver keeps
        (24, 10.0, 23.65, "other processes hold 10.00 of the device's 24.00 GiB"),
        (24, 10.0, 11.5, ""),  # enough is left for this budget
        (24, 0.0, 80.0, "the budget of 80.00 GiB was not there"),
    ],
)
def test_out_of_memory_is_proof_only_where_the_budget_was_free(
    make_spec, total_gib: int, held_gib: float, limit_gib: float, said: str
) -> None:
    class Shared(FakeCuda):
        def mem_get_info(self, device: int, /) -> tuple[int, int]:
            free, total = super().mem_get_info(device)
            return free - int((held_gib + 0.5) * GIB), total  # 0.5 GiB is our own context

    fake = Shared(total=total_gib * GIB)
    meter = DeviceMeter(make_spec(limit_gib=limit_gib, context_gib=0.5), fake, None, MEASURED)
    fake.use(2.0, 3.0)
    found = meter.shortfall()
    assert said in found and bool(said) == bool(found)
