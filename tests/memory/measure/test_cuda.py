"""The allocator's cap and peaks, against a stand-in for torch.cuda that keeps its statistics."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import pytest

from sweeper.memory.measure import cuda
from sweeper.memory.measure.cuda import PhasePeaks, cap_allocator, context_gib, open_context
from sweeper.numbers import GIB


@dataclass
class FakeCuda:
    """A device of 80 GiB behind the functions and the statistics that torch.cuda documents."""

    total: int = 80 * GIB
    fraction: float = 1.0
    current: dict[str, int] = field(default_factory=lambda: {"allocated": 0, "reserved": 0})
    stats: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def init(self) -> None:
        self.calls.append("init")

    def synchronize(self, device: int, /) -> None:
        self.calls.append(f"synchronize {device}")

    def mem_get_info(self, device: int, /) -> tuple[int, int]:
        return self.total - self.current["reserved"], self.total

    def memory_reserved(self, device: int, /) -> int:
        return self.current["reserved"]

    def memory_stats(self, device: int, /) -> dict[str, Any]:
        return dict(self.stats)

    def reset_peak_memory_stats(self, device: int, /) -> None:
        for kind, size in self.current.items():
            self.stats[f"{kind}_bytes.all.peak"] = size

    def set_per_process_memory_fraction(self, fraction: float, device: int, /) -> None:
        self.fraction = fraction

    def use(self, allocated_gib: float, reserved_gib: float) -> None:
        """Allocate up to a level, or raise as torch does at the cap."""
        if reserved_gib * GIB > self.fraction * self.total:
            self.stats["num_alloc_retries"] = self.stats.get("num_alloc_retries", 0) + 1
            self.stats["num_ooms"] = self.stats.get("num_ooms", 0) + 1
            raise MemoryError
        for kind, gib in (("allocated", allocated_gib), ("reserved", reserved_gib)):
            self.current[kind] = int(gib * GIB)
            key = f"{kind}_bytes.all.peak"
            self.stats[key] = max(self.stats.get(key, 0), self.current[kind])


def test_an_80_gib_card_behaves_like_the_budget() -> None:
    fake = FakeCuda()
    assert cap_allocator(24.0, 0.5, fake) == pytest.approx(23.5)
    fake.use(20.0, 23.5)
    with pytest.raises(MemoryError):
        fake.use(20.0, 23.51)


def test_a_budget_above_the_device_leaves_the_device_its_own_limit() -> None:
    fake = FakeCuda(total=8 * GIB)
    assert cap_allocator(24.0, 0.5, fake) == 8.0
    assert fake.fraction == 1.0


@pytest.mark.parametrize("budget_gib", [0.5, 0.3, 0.0, -1.0])
def test_a_budget_within_the_context_is_refused(budget_gib: float) -> None:
    with pytest.raises(ValueError, match=r"nothing beside the CUDA context of 0\.50 GiB"):
        cap_allocator(budget_gib, 0.5, FakeCuda())


def test_the_context_is_what_the_allocator_does_not_hold() -> None:
    fake = FakeCuda()
    open_context(fake, 1)
    assert fake.calls == ["init", "synchronize 1"]
    fake.use(1.0, 2.0)
    assert context_gib(2.45, fake) == pytest.approx(0.45)
    assert context_gib(1.9, fake) == 0.0  # NVML read just before the allocator grew


def test_phases_keep_their_own_peaks() -> None:
    fake = FakeCuda()
    peaks = PhasePeaks(fake)
    fake.use(3.0, 4.0)
    fake.use(1.0, 2.0)
    peaks.switch("val")
    fake.use(5.0, 6.0)
    fake.use(1.0, 1.0)
    peaks.switch("train")
    fake.use(2.0, 3.0)
    seen = peaks.read()
    assert (seen.train_reserved_gib, seen.val_reserved_gib) == (4.0, 6.0)
    assert (seen.allocated_gib, seen.reserved_gib) == (5.0, 6.0)


def test_what_was_reserved_before_does_not_count() -> None:
    fake = FakeCuda()
    fake.use(9.0, 9.0)
    fake.use(0.0, 0.0)
    peaks = PhasePeaks(fake)
    fake.use(1.0, 1.0)
    assert peaks.read().reserved_gib == 1.0


def test_segments_that_training_keeps_count_in_validation() -> None:
    fake = FakeCuda()
    peaks = PhasePeaks(fake)
    fake.use(3.0, 4.0)
    peaks.switch("val")
    peaks.switch("train")
    assert peaks.read().val_reserved_gib == 4.0


def test_the_peak_before_the_end_of_memory_is_kept() -> None:
    fake = FakeCuda()
    cap_allocator(8.0, 0.5, fake)
    peaks = PhasePeaks(fake)
    fake.use(1.0, 1.0)
    peaks.switch("val")
    with pytest.raises(MemoryError):
        fake.use(7.0, 7.5)
        fake.use(8.0, 8.5)
    seen = peaks.read()
    assert (seen.train_reserved_gib, seen.val_reserved_gib) == (1.0, 7.5)
    assert seen.alloc_retries == 1


def test_retries_are_those_of_this_trial() -> None:
    fake = FakeCuda(stats={"num_alloc_retries": 7})
    peaks = PhasePeaks(fake)
    fake.stats["num_alloc_retries"] = 10
    assert peaks.read().alloc_retries == 3


def test_statistics_may_be_empty_before_cuda_starts() -> None:
    fake = FakeCuda()
    fake.reset_peak_memory_stats = lambda device, /: None  # type: ignore[method-assign]
    assert PhasePeaks(fake).read().reserved_gib == 0.0


def test_every_function_used_exists_in_the_installed_torch() -> None:
    torch = pytest.importorskip("torch")
    used = [name for name in vars(cuda.CudaModule) if not name.startswith("_")]
    assert "set_per_process_memory_fraction" in used
    for name in used:
        real = list(inspect.signature(getattr(torch.cuda, name)).parameters.values())
        asked = list(inspect.signature(getattr(cuda.CudaModule, name)).parameters)[1:]
        assert [p.name for p in real[: len(asked)]] == asked, name
        assert all(p.default is not p.empty for p in real[len(asked) :]), name


def test_every_statistic_used_is_documented_in_the_installed_torch() -> None:
    torch = pytest.importorskip("torch")
    text = inspect.getdoc(torch.cuda.memory_stats) or ""
    assert f'``"{cuda.RETRIES}"``' in text
    for key in (cuda.ALLOCATED_PEAK, cuda.RESERVED_PEAK):
        family, pool, kind = key.split(".")
        documented = (
            f'``"{family}.{{all,large_pool,small_pool}}.{{current,peak,allocated,freed}}"``'
        )
        assert documented in text
        assert (pool, kind) == ("all", "peak")


def test_without_a_gpu_the_real_statistics_read_as_zero() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert dict(cuda.torch_cuda().memory_stats(0)) == {}
    assert not torch.cuda.is_initialized()
    assert cuda.torch_cuda() is torch.cuda
