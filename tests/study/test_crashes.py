"""Which ends are alike, and not those of a cell."""

from pathlib import Path

import pytest

from sweeper.study.crashes import Crashes, nothing_but_crashes
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import RecordedTrial

KERNEL = "AcceleratorError: CUDA error: no kernel image is available. See log.txt."


def crashed(reason: str) -> TrialResult:
    return TrialResult(Outcome.CRASHED, reason)


@pytest.mark.parametrize(
    "reason",
    [
        "AcceleratorError: no kernel image at 0x7f3{number}ab. See log.txt.",
        "{label} at 640 px: 1{number},5 GiB were held by pid 47{number}.",
    ],
)
def test_cells_addresses_and_numbers_do_not_matter(make_spec, reason: str) -> None:
    crashes = Crashes()
    specs = [make_spec(batch=2), make_spec(amp=True), make_spec(accumulate=4)]
    reasons = [reason.format(label=spec.label, number=i) for i, spec in enumerate(specs)]
    seen = [crashes.add(s, crashed(r)) for s, r in zip(specs, reasons, strict=True)]
    assert seen == [False, False, True]


@pytest.mark.parametrize("other", [TrialResult(Outcome.OUT_OF_MEMORY, KERNEL), crashed("another")])
def test_anything_else_in_between_begins_anew(make_spec, other: TrialResult) -> None:
    crashes, spec = Crashes(), make_spec()
    results = [crashed(KERNEL), crashed(KERNEL), other, crashed(KERNEL), crashed(KERNEL)]
    assert [crashes.add(spec, result) for result in results] == [False] * 5
    assert crashes.add(spec, crashed(KERNEL))


def test_what_other_processes_do_is_one_reason_whatever_it_looks_like(make_spec) -> None:
    crashes = Crashes()
    looks = ["tried to allocate 20 MiB", "no room for a context", "the GPU's use grew by 3 GiB"]
    disturbed = [TrialResult(Outcome.DISTURBED, reason) for reason in looks]
    assert [crashes.add(make_spec(), result) for result in disturbed] == [False, False, True]


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ("crashed", True),
        ("crashed crashed", True),
        ("out_of_memory implied crashed interrupted", True),
        ("complete crashed", False),
        ("crashed complete", False),
        ("crashed diverged", False),
        ("out_of_memory interrupted", False),
        ("", False),
    ],
)
def test_a_study_that_did_nothing_but_crash_says_what_to_mend(
    make_spec, outcomes: str, told: bool
) -> None:
    results = [TrialResult(Outcome(o), f"reason {i}") for i, o in enumerate(outcomes.split())]
    trials = [RecordedTrial(make_spec(number=i), result) for i, result in enumerate(results)]
    said = nothing_but_crashes(trials, StudyFolder(Path("runs/s")))
    assert bool(said) is told
    if told:
        last = max(i for i, o in enumerate(outcomes.split()) if o == "crashed")
        assert f"reason {last}" in said and f"runs/s/trials/{last:04d}/log.txt" in said
