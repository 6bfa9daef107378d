"""One trial for the cells that take the same optimizer steps."""

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.executors import Watcher
from sweeper.study import loop
from sweeper.study.judge import cover
from sweeper.study.sharing import Sharing, spread_order
from sweeper.study.space import Cell
from sweeper.tracking import read_study
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import MemoryReading
from sweeper.trial.record import ChildFacts, EndedBy, Ending, TrialFacts
from sweeper.trial.spec import TrialSpec
from tests.study.test_loop import BUDGET_GIB, Study, _mlflow, peak_gib  # noqa: F401
from tests.study.test_rung_loop import EPOCHS, PartsExecutor, better_half


@pytest.fixture
def study(tmp_path: Path, make_spec, monkeypatch) -> Study:
    monkeypatch.setattr(loop, "judge_rung", better_half)

    def make(**values: object) -> TrialSpec:
        return make_spec(**(values | {"epochs": EPOCHS}))

    return Study(tmp_path, make, rungs=(5, 10), share=True)


def fits(spec: TrialSpec) -> bool:
    return peak_gib(spec) <= BUDGET_GIB


def groups(specs: list[TrialSpec]) -> dict[tuple[int, bool], int]:
    """The largest batch that fits, by effective batch and amp."""
    largest: dict[tuple[int, bool], int] = {}
    for spec in filter(fits, specs):
        key = (spec.effective_batch, spec.amp)
        largest[key] = max(spec.batch, largest.get(key, 0))
    return largest


def test_the_largest_batch_that_fits_is_trained_for_all_that_share_its_steps(study) -> None:
    executor = PartsExecutor()
    assert study.run(executor)
    specs = list(study.specs().values())
    trained = {s.number: s for s in executor.ran if fits(s)}.values()
    assert {(s.effective_batch, s.amp): s.batch for s in trained} == groups(specs)
    assert len(trained) == len(groups(specs)), "one trial for each"
    outcomes = Counter(study.outcomes().values())
    larger = [s for s in specs if not fits(s)]
    assert outcomes["covered"] == sum(map(fits, specs)) - len(trained) > 0
    assert outcomes["implied"] + outcomes["out_of_memory"] == len(larger)
    assert sum(outcomes.values()) == len(specs), "every cell is decided"


@pytest.mark.parametrize("recorded", [{}, {"images": None, "fullest_image": None}])
def test_how_full_the_images_of_a_batch_are_keeps_no_cells_apart(
    make_spec, recorded: dict[str, None]
) -> None:
    small = make_spec(batch=2, accumulate=4, images=720, fullest_image=127)
    large = make_spec(batch=8, accumulate=1, images=720, fullest_image=113)
    cells = [Cell((name,), compose_settings([]), "") for name in ("small", "large")]
    sharing = Sharing(dict(zip(cells, (small, large), strict=True)))
    sharing.lead(replace(large, **recorded))  # by an earlier version: neither was counted
    assert [sharing.is_led(cell) for cell in cells] == [True, False]
    assert sharing.led_by(large) == cells[:1]


def test_a_cell_without_levers_stands_for_those_with_unless_they_buy_a_larger_batch(
    make_spec,
) -> None:
    specs = {
        Cell((batch, checkpoint), compose_settings([]), ""): make_spec(
            batch=batch, accumulate=16 // batch, checkpoint=checkpoint
        )
        for batch in (4, 8, 16)
        for checkpoint in ("none", "backbone", "all")
    }
    sharing = Sharing(specs)
    by_params = {cell.params: spec for cell, spec in specs.items()}
    sharing.lead(by_params[8, "none"])
    assert [cell.params for cell in specs if not sharing.is_led(cell)] == [
        *((8, "none"), (16, "none"), (16, "backbone"), (16, "all"))
    ]
    sharing.lead(by_params[16, "backbone"])
    free = [cell.params for cell in specs if not sharing.is_led(cell)]
    assert free == [(8, "none"), (16, "none"), (16, "backbone")]
    covered = cover(by_params[16, "all"], by_params[16, "backbone"]).reason
    assert covered.endswith("takes the same optimizer steps of 16 images without checkpoint=all")
    covered = cover(by_params[4, "none"], by_params[8, "none"]).reason
    assert covered.endswith("in larger micro-batches")


def test_a_covered_cell_names_its_evidence_and_counts_for_nothing(study) -> None:
    study.run(PartsExecutor())
    trials = {t.number: t for t in read_study(study.uri, "x", "s").trials}
    covered = [t for t in trials.values() if t.state == "covered"]
    for trial in covered:
        leader = trials[trial.implied_by]
        assert leader.state in {"complete", "pruned"} and leader.spec.batch > trial.spec.batch
        assert leader.spec.effective_batch == trial.spec.effective_batch
        assert f"trial {leader.number}, {leader.spec.label}, takes the same" in trial.reason
    assert study.open().finished == len(trials) - len(covered) - sum(
        t.state == "implied" for t in trials.values()
    )


def test_where_the_trial_fails_the_next_largest_batch_takes_over(study) -> None:
    executor = PartsExecutor()
    look_up = executor._look_up

    def fail_late(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        spec = folder.read_spec()
        if (spec.batch, spec.accumulate, spec.amp) == (4, 1, True) and spec.trained:
            return TrialFacts(child=ChildFacts(Ending.ERROR, "boom"))
        return look_up(folder, watcher)

    executor._train = fail_late
    assert study.run(executor)
    trials = read_study(study.uri, "x", "s").trials
    four = {t.spec.label: t.state for t in trials if t.spec.effective_batch == 4 and t.spec.amp}
    assert four["b4×a1 amp"] == "crashed"
    assert four["b2×a2 amp"] in {"complete", "pruned"}


def test_cells_wait_for_a_trial_that_was_disturbed(study) -> None:
    executor = PartsExecutor()
    look_up = executor._look_up

    def crowded(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        spec = folder.read_spec()
        if (spec.batch, spec.accumulate, spec.amp) == (4, 1, True):
            return TrialFacts(child=ChildFacts(Ending.OUT_OF_MEMORY, "boom", shortfall="others"))
        return look_up(folder, watcher)

    executor._train = crowded
    assert not study.run(executor), "a cell is open, and what it stands for"
    assert study.outcomes()[4, 1, True] == "disturbed" and (2, 2, True) not in study.outcomes()
    assert study.run(PartsExecutor())
    assert study.outcomes()[4, 1, True] in {"complete", "pruned"}
    assert study.outcomes()[2, 2, True] == "covered"


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("at", [2, 11])
def test_a_stopped_study_shares_as_if_it_had_not_been(study, at: int, cut: bool) -> None:
    first = PartsExecutor()
    look_up = first._look_up

    def stop(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        facts = look_up(folder, watcher)
        if len(first.ran) == at:
            os.kill(os.getpid(), signal.SIGTERM)
            if cut:
                (folder.path / "child.json").unlink(missing_ok=True)
                return TrialFacts(ended_by=EndedBy.STUDY)
        return facts

    first._train = stop
    assert not study.run(first)
    second = PartsExecutor()
    assert study.run(second)
    specs = list(study.specs().values())
    trials = read_study(study.uri, "x", "s").trials
    ran = [t.spec for t in trials if t.state in {"complete", "pruned"}]
    assert Counter((s.effective_batch, s.amp) for s in ran) == Counter(groups(specs).keys())
    assert {(s.effective_batch, s.amp): s.batch for s in ran} == groups(specs)


def test_a_trial_that_ended_as_the_study_died_covers_what_it_stands_for(study) -> None:
    study.rungs = ()
    executor = PartsExecutor()
    look_up = executor._look_up

    def die(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        facts = look_up(folder, watcher)
        if fits(folder.read_spec()) and folder.read_spec().effective_batch == 4:
            raise KeyboardInterrupt
        return facts

    executor._train = die
    with pytest.raises(KeyboardInterrupt):
        study.run(executor)
    died = executor.ran[-1]
    assert study.run(PartsExecutor())
    trials = read_study(study.uri, "x", "s").trials
    same = [t for t in trials if (t.spec.effective_batch, t.spec.amp) == (4, died.amp)]
    assert {t.state for t in same if t.number != died.number} <= {"covered", "implied"}


def test_a_few_cells_are_those_that_lie_farthest_apart(make_spec) -> None:
    fitting, unfit = (MemoryReading(gib, "simulated", "trace") for gib in (1.0, 99.0))
    cells = [(b, a, amp) for b in (2, 4, 8) for a in (1, 4) for amp in (False, True)]
    specs = [
        replace(make_spec(batch=b, accumulate=a, amp=amp), predicted=unfit if b == 8 else fitting)
        for b, a, amp in cells
    ]
    first = [specs[i] for i in spread_order(specs, 4)[:4]]
    assert all(s.batch < 8 for s in first), "what is predicted not to fit comes last"
    assert {s.effective_batch for s in first} >= {2, 16}, "both ends of the space"
    assert {s.amp for s in first} == {False, True}
    assert sorted(spread_order(specs, 4)) == list(range(len(specs)))


def test_what_fits_comes_before_a_larger_batch_that_is_tight(make_spec) -> None:
    fits, tight = (
        MemoryReading(1.0, "simulated", "trace", peak_upper_gib=upper) for upper in (1.1, 99.0)
    )
    specs = [
        replace(make_spec(batch=b, accumulate=8 // b), predicted=tight if b > 4 else fits)
        for b in (2, 4, 8)
    ]
    assert [specs[i].batch for i in spread_order(specs, 1)] == [4, 2, 8]
    smallest = [replace(spec, predicted=tight) for spec in specs]
    assert [specs[i].batch for i in spread_order(smallest, 1)] == [2, 4, 8]
