import signal
from dataclasses import replace

import pytest

from sweeper.study.judge import judge, refuse
from sweeper.trial.readings import EpochReport, MemoryReading, SampledPeak
from sweeper.trial.record import ChildFacts, EndedBy, Ending, Outcome, TrialFacts

EPOCH = EpochReport(1, 1.5, 0.1, 0.05, 1.0, 1.0, 2.0, 0.01)


def reading(peak_gib: float, source: str = "measured") -> MemoryReading:
    return MemoryReading(peak_gib, source, "allocator")


def sampled(peak_gib: float, exceeded: bool = False, method: str = "process") -> SampledPeak:
    return SampledPeak(peak_gib, method, 3, 0.02, exceeded, "")


@pytest.mark.parametrize(
    ("facts", "outcome", "excess_gib"),
    [
        (ChildFacts(Ending.COMPLETE, memory=reading(9.5)), Outcome.COMPLETE, -0.5),
        (ChildFacts(Ending.COMPLETE), Outcome.COMPLETE, None),
        (ChildFacts(Ending.COMPLETE, memory=reading(12.0)), Outcome.OVER_BUDGET, 2.0),
        (ChildFacts(Ending.STOPPED, memory=reading(12.0)), Outcome.OVER_BUDGET, 2.0),
        # the allocation that failed is not in the peak
        (ChildFacts(Ending.OUT_OF_MEMORY, memory=reading(9.9)), Outcome.OUT_OF_MEMORY, 0.001),
        (ChildFacts(Ending.OUT_OF_MEMORY), Outcome.OUT_OF_MEMORY, 0.001),
        (ChildFacts(Ending.DIVERGED, memory=reading(9.0)), Outcome.DIVERGED, -1.0),
        # the peak of a set-up says nothing about the cell, on whichever side it is
        (ChildFacts(Ending.AMP_REFUSED, memory=reading(0.6)), Outcome.AMP_REFUSED, None),
        (ChildFacts(Ending.AMP_REFUSED, memory=reading(12.0)), Outcome.AMP_REFUSED, None),
    ],
)
def test_the_excess_is_positive_exactly_when_a_cell_does_not_fit(
    make_spec, facts: ChildFacts, outcome: Outcome, excess_gib: float | None
) -> None:
    result = judge(make_spec(limit_gib=10.0), TrialFacts(child=facts))
    assert result.outcome is outcome
    assert result.excess_gib == pytest.approx(excess_gib)
    assert result.outcome.infeasible is (excess_gib is not None and excess_gib > 0)


def test_the_training_time_is_that_of_all_parts(make_spec) -> None:
    epochs = tuple(replace(EPOCH, epoch=e, epoch_s=float(e)) for e in (1, 2, 3))
    child = ChildFacts(Ending.COMPLETE, epochs=epochs, train_time_s=3.5)
    assert judge(make_spec(epochs=3), TrialFacts(child=child)).train_time_s == 3.5
    going_on = make_spec(epochs=3, trained=2, spent_s=20.0)
    result = judge(going_on, TrialFacts(child=child, wall_time_s=10.0))
    assert (result.train_time_s, result.wall_time_s) == (1 + 2 + 3.5, 30.0)


def test_what_nvml_saw_over_the_budget_is_infeasible_though_nothing_crashed(make_spec) -> None:
    child = ChildFacts(Ending.COMPLETE, epochs=(EPOCH,), memory=reading(9.0))
    result = judge(make_spec(limit_gib=10.0), TrialFacts(child=child, sampled=sampled(10.5)))
    assert (result.outcome, result.memory.peak_gib) == (Outcome.OVER_BUDGET, 10.5)
    assert "0.50 GiB over the budget" in result.reason


def test_what_the_watchdog_stopped_is_over_budget_and_keeps_its_epochs(make_spec) -> None:
    facts = TrialFacts(epochs=(EPOCH,), exit_code=-signal.SIGKILL, sampled=sampled(14.0, True))
    result = judge(make_spec(limit_gib=10.0), facts)
    assert result.outcome is Outcome.OVER_BUDGET and result.map50 == 0.1
    assert "NVML saw 14.00 GiB, the budget is 10.00 GiB" in result.reason


def test_out_of_memory_because_of_others_proves_nothing(make_spec) -> None:
    child = ChildFacts(Ending.OUT_OF_MEMORY, "out of memory", shortfall="the budget was not there")
    result = judge(make_spec(), TrialFacts(child=child))
    assert result.outcome is Outcome.DISTURBED and result.excess_gib is None
    assert result.reason.endswith("out of memory But the budget was not there.")


@pytest.mark.parametrize(
    ("ending", "own_gib", "device_gib", "outcome"),
    [
        (Ending.COMPLETE, 9.0, 9.9, Outcome.COMPLETE),
        (Ending.COMPLETE, 9.0, 10.5, Outcome.DISTURBED),
        (Ending.STOPPED, 9.0, 10.5, Outcome.DISTURBED),
        (Ending.COMPLETE, 10.2, 10.5, Outcome.OVER_BUDGET),  # by its own figures
        (Ending.OUT_OF_MEMORY, 9.0, 10.5, Outcome.OUT_OF_MEMORY),
        (Ending.ERROR, 9.0, 10.5, Outcome.CRASHED),
    ],
)
def test_what_a_device_grew_by_proves_nothing_where_processes_are_hidden(
    make_spec, ending: Ending, own_gib: float, device_gib: float, outcome: Outcome
) -> None:
    child = ChildFacts(ending, "said", memory=reading(own_gib))
    facts = TrialFacts(child=child, sampled=sampled(device_gib, method="device"))
    result = judge(make_spec(limit_gib=10.0, context_gib=0.5), facts)
    assert result.outcome is outcome
    if outcome is Outcome.DISTURBED:
        assert result.excess_gib is None and result.memory.peak_gib == own_gib
        for said in ("grew by 10.50 GiB", "End other processes", "vram.context_gib=0.5"):
            assert said in result.reason


def test_amp_that_was_refused_says_which_cell_it_would_have_been(make_spec) -> None:
    child = ChildFacts(Ending.AMP_REFUSED, "the check failed", memory=reading(0.6))
    facts = TrialFacts(child=child, sampled=sampled(0.7), wall_time_s=4.0)
    result = judge(make_spec(batch=8, accumulate=4, amp=True), facts)
    assert (result.memory, result.map50, result.wall_time_s) == (None, None, 4.0)
    assert result.reason.startswith("the check failed: it would have trained as b8×a4, without")
    assert "amp=false" in result.reason and "log.txt" in result.reason


@pytest.mark.parametrize(
    ("facts", "outcome", "said"),
    [
        (TrialFacts(no_start="EOFError"), Outcome.CRASHED, "no process could be started"),
        (TrialFacts(exit_code=-signal.SIGKILL), Outcome.CRASHED, "out-of-memory killer"),
        (TrialFacts(exit_code=-signal.SIGSEGV), Outcome.CRASHED, "SIGSEGV"),
        (TrialFacts(exit_code=-signal.SIGTERM), Outcome.INTERRUPTED, "ended by SIGTERM"),
        (TrialFacts(exit_code=3), Outcome.CRASHED, "exit code 3"),
        (TrialFacts(ended_by=EndedBy.STUDY), Outcome.INTERRUPTED, "the study was stopped"),
        (TrialFacts(ended_by=EndedBy.TIMEOUT), Outcome.TIMEOUT, "study.trial_timeout_s=5"),
        (TrialFacts(ended_by=EndedBy.STALL), Outcome.TIMEOUT, "study.stall_timeout_s=7"),
    ],
)
def test_a_training_that_wrote_nothing_is_judged_from_outside(
    make_spec, facts: TrialFacts, outcome: Outcome, said: str
) -> None:
    result = judge(make_spec(timeout_s=5.0, stall_timeout_s=7.0), facts)
    assert result.outcome is outcome and said in result.reason


def test_what_the_training_wrote_counts_more_than_how_its_process_ended(make_spec) -> None:
    child = ChildFacts(Ending.COMPLETE, epochs=(EPOCH,))
    facts = TrialFacts(child=child, exit_code=-signal.SIGKILL, ended_by=EndedBy.TIMEOUT)
    assert judge(make_spec(), facts).outcome is Outcome.COMPLETE


def test_without_a_gpu_the_prediction_refuses_what_does_not_fit(make_spec) -> None:
    assert refuse(make_spec(limit_gib=10.0)) is None
    tight = replace(reading(10.0, "simulated"), peak_upper_gib=12.0)
    assert refuse(make_spec(limit_gib=10.0, predicted=tight)) is None
    result = refuse(make_spec(limit_gib=10.0, predicted=reading(12.0, "simulated")))
    assert result is not None and result.outcome is Outcome.OUT_OF_MEMORY
    assert result.excess_gib == 2.0 and "2.00 GiB over the budget (simulated)" in result.reason
