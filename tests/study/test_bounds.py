"""The bounds against brute force, over random memory tables."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sweeper.study.bounds import Bounds, memory_class, predicted_unfit, proving_order
from sweeper.trial.readings import MemoryReading
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.spec import TrialSpec

BASE = TrialSpec(
    study="s",
    number=0,
    strategy="x",
    batch=1,
    accumulate=1,
    amp=False,
    model="m",
    model_file="m.yaml",
    data="d",
    data_yaml="d.yaml",
    nc=1,
    boxes_per_image=1.0,
    imgsz=64,
    epochs=1,
    optimizer="SGD",
    seed=0,
    limit_gib=10.0,
)


def cell(
    batch: int,
    accumulate: int = 1,
    amp: bool = False,
    predicted: float = 1.0,
    upper: float | None = None,
) -> TrialSpec:
    reading = MemoryReading(predicted, "simulated", "trace", peak_upper_gib=upper)
    return replace(BASE, batch=batch, accumulate=accumulate, amp=amp, predicted=reading)


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[TrialSpec, bool]]:
    """Cells with whether they fit; monotonic in batch per class, predictions right or wrong.

    What accumulates needs at least as much as what does not.
    """
    batches = draw(st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True))
    accumulates = draw(st.sampled_from([[1], [2, 4], [1, 2, 8]]))
    rows = []
    for amp in (False, True):
        most, less = draw(st.integers(0, 65)), draw(st.integers(0, 65))
        limits = {False: most, True: min(most, less)}
        for batch in batches:
            for accumulate in accumulates:
                said = draw(st.sampled_from([(1.0, None), (1.0, 20.0), (20.0, 30.0)]))
                fits = batch < limits[accumulate > 1]
                rows.append((cell(batch, accumulate, amp, *said), fits))
    return draw(st.permutations(rows))


def search(table: list[tuple[TrialSpec, bool]], measured: bool) -> tuple[set[int], list[int]]:
    """Indices found to fit, and those that were run, as the loop does it."""
    bounds = Bounds()
    fits, ran = set(), []
    for i in proving_order([spec for spec, _ in table], measured):
        spec, truth = table[i]
        if bounds.implied_by(spec) is not None:
            continue
        ran.append(i)
        outcome = Outcome.COMPLETE if truth else Outcome.OUT_OF_MEMORY
        bounds.learn(replace(spec, number=i), TrialResult(outcome))
        fits |= {i} if truth else set()
    return fits, ran


@given(tables(), st.booleans())
def test_the_feasible_set_is_that_of_brute_force_with_never_more_runs(table, measured) -> None:
    fits, ran = search(table, measured)
    assert fits == {i for i, (_, truth) in enumerate(table) if truth}
    assert len(ran) == len(set(ran)) <= len(table)


@given(tables(), st.booleans())
def test_right_predictions_cost_one_failed_run_per_class(table, measured) -> None:
    right = [
        (replace(s, predicted=MemoryReading(1.0 if fit else 20.0, "simulated", "trace")), fit)
        for s, fit in table
    ]
    _, ran = search(right, measured)
    failed = [right[i][0] for i in ran if not right[i][1]]
    assert len(failed) == len({memory_class(s) for s in failed})


def test_the_order_puts_first_what_proves_most() -> None:
    specs = [cell(b, predicted=20.0 if b > 8 else 1.0) for b in (2, 4, 8, 16, 32)]
    assert [specs[i].batch for i in proving_order(specs, measured=True)] == [8, 16, 4, 2, 32]
    assert [specs[i].batch for i in proving_order(specs, measured=False)] == [16, 8, 4, 2, 32]


def test_what_is_tight_runs_from_the_smallest_before_what_is_not_predicted_to_fit() -> None:
    peaks = {2: (1.0, 2.0), 4: (1.0, 9.0), 8: (9.0, 11.0), 16: (9.5, 12.0), 32: (11.0, 13.0)}
    specs = [cell(b, predicted=peak, upper=upper) for b, (peak, upper) in peaks.items()]
    assert [specs[i].batch for i in proving_order(specs, measured=True)] == [4, 8, 2, 16, 32]
    assert [specs[i].batch for i in proving_order(specs, measured=False)] == [32, 4, 2, 8, 16]
    assert [predicted_unfit(spec) for spec in specs] == [False, False, False, False, True]


def test_evidence_holds_for_its_memory_class_only() -> None:
    bounds = Bounds()
    assert bounds.learn(replace(cell(8, 2), number=5), TrialResult(Outcome.OVER_BUDGET))
    assert bounds.implied_by(cell(8, 4)) == 5
    assert bounds.implied_by(cell(16, 2)) == 5
    assert bounds.implied_by(cell(4, 2)) is None
    assert bounds.implied_by(cell(16, 1)) is None
    assert bounds.implied_by(cell(16, 2, amp=True)) is None


def test_evidence_holds_for_its_levers_only() -> None:
    bounds = Bounds()
    recomputed = replace(cell(8), checkpoint="backbone", number=5)
    assert bounds.learn(recomputed, TrialResult(Outcome.OUT_OF_MEMORY))
    assert bounds.implied_by(replace(cell(16, 4), checkpoint="backbone")) == 5
    assert bounds.implied_by(replace(cell(16), checkpoint="all")) is None
    assert bounds.implied_by(cell(16)) is None, "nothing proves that recomputing never costs any"
    assert bounds.implied_by(replace(recomputed, alloc_conf="expandable_segments:True")) is None


def test_what_pulls_fewer_levers_runs_first() -> None:
    specs = [replace(cell(b), checkpoint=c) for c in ("all", "none", "backbone") for b in (4, 8)]
    for measured, batches in ((True, (8, 8, 8, 4, 4, 4)), (False, (8, 4, 8, 4, 8, 4))):
        ran = [specs[i] for i in proving_order(specs, measured)]
        assert tuple(s.batch for s in ran) == batches
        assert [s.checkpoint for s in ran if s.batch == 8] == ["none", "backbone", "all"]


def test_what_does_not_fit_without_accumulation_does_not_fit_with_it() -> None:
    bounds = Bounds()
    assert bounds.learn(replace(cell(16, 1), number=3), TrialResult(Outcome.OUT_OF_MEMORY))
    assert [bounds.implied_by(cell(batch, 2)) for batch in (8, 16, 32)] == [None, 3, 3]
    assert bounds.learn(replace(cell(8, 2), number=4), TrialResult(Outcome.OVER_BUDGET))
    assert [bounds.implied_by(cell(batch, 2)) for batch in (4, 8, 16)] == [None, 4, 4]
    assert bounds.implied_by(cell(8, 1)) is None


def test_of_equals_the_one_that_does_not_accumulate_runs_first() -> None:
    specs = [cell(b, a, predicted=20.0 if b > 8 else 1.0) for a in (2, 1) for b in (4, 8, 16, 32)]
    order = [specs[i].label for i in proving_order(specs, measured=True)]
    assert order == [f"b{b}×a{a}" for b in (8, 16, 4, 32) for a in (1, 2)]


def test_only_a_proof_teaches_and_only_a_smaller_one_replaces_it() -> None:
    bounds = Bounds()
    assert not bounds.learn(cell(4), TrialResult(Outcome.CRASHED))
    assert not bounds.learn(cell(4), TrialResult(Outcome.IMPLIED))
    assert bounds.learn(replace(cell(8), number=1), TrialResult(Outcome.OUT_OF_MEMORY))
    assert not bounds.learn(replace(cell(16), number=2), TrialResult(Outcome.OUT_OF_MEMORY))
    assert bounds.learn(replace(cell(4), number=3), TrialResult(Outcome.OUT_OF_MEMORY))
    assert bounds.implied_by(cell(16)) == 3


def test_what_only_changes_learning_stays_in_the_class() -> None:
    slow = replace(BASE, train_args={"lr0": 0.1, "mosaic": 1.0})
    assert memory_class(slow) == memory_class(replace(slow, train_args={"lr0": 1, "mosaic": 1.0}))
    assert memory_class(slow) == memory_class(replace(slow, seed=3, epochs=9))
    assert memory_class(slow) != memory_class(replace(slow, train_args={"multi_scale": 0.5}))
    assert memory_class(slow) != memory_class(replace(slow, imgsz=96))
