"""The verdicts at a rung, and the choice after the last."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.trial.field import Standing
from sweeper.trial.rungs import choose, default_rungs, ends, judge_rung

EPOCHS = 40
NOT_BEGUN = (0.0,) * 6
REASON = re.compile(r"^stopped after \d+ of \d+ epochs: .*[^.]$")


def learn(
    trained: int,
    begins: int = 1,
    slope: float = 0.8,
    floor: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> tuple[float, ...]:
    """A curve whose error falls as a power of the epoch, down to a floor."""
    rng = random.Random(seed)
    errors = [
        floor + (1 - floor) * (1 + max(epoch - begins, 0)) ** -slope * rng.lognormvariate(0, noise)
        for epoch in range(1, trained + 1)
    ]
    return tuple(
        0.0 if epoch <= begins else max(1 - error, 0.0) for epoch, error in enumerate(errors, 1)
    )


def standing(
    number: int,
    curve: tuple[float, ...],
    epoch_s: float = 1.0,
    effective_batch: int | None = None,
    spare_gib: float | None = None,
    label: str = "",
) -> Standing:
    effective = 2 ** (number + 1) if effective_batch is None else effective_batch
    return Standing(number, label or f"b{number}", EPOCHS, curve, epoch_s, spare_gib, effective)


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [
        (5, ()),
        (9, ()),
        (10, (3, 4)),
        (40, (6, 10, 14)),
        (100, (15, 25, 35)),
        (300, (45, 75, 105)),
    ],
)
def test_rungs_are_shares_of_the_whole_run(epochs: int, rungs: tuple[int, ...]) -> None:
    assert default_rungs(epochs) == rungs


@given(st.integers(1, 2000))
def test_rungs_rise_and_end_before_the_run_does(epochs: int) -> None:
    rungs = default_rungs(epochs)
    assert list(rungs) == sorted(set(rungs))
    assert all(3 <= rung < epochs / 2 for rung in rungs)


CURVES = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6).map(tuple)
STANDINGS = st.lists(
    st.tuples(
        CURVES,
        st.floats(0.5, 5.0),
        st.sampled_from([2, 8, 32]),
        st.none() | st.floats(0.0, 8.0),
        st.sampled_from(["", "seeds of one cell"]),
    ),
    min_size=1,
    max_size=8,
).map(lambda rows: [standing(i, *row) for i, row in enumerate(rows)])


@given(STANDINGS, st.randoms(use_true_random=False))
def test_the_order_of_the_standings_does_not_matter(
    standings: list[Standing], rng: random.Random
) -> None:
    shuffled = rng.sample(standings, len(standings))
    assert judge_rung(shuffled) == judge_rung(standings)
    assert choose(shuffled).order[0] == choose(standings).order[0]
    assert ends(shuffled) == ends(standings)


@given(STANDINGS)
def test_every_cell_goes_on_or_is_told_why_not(standings: list[Standing]) -> None:
    judged = judge_rung(standings)
    assert judged.going
    assert sorted([*judged.going, *judged.out]) == [s.number for s in standings]
    assert all(REASON.match(reason) for reason in judged.out.values())


@given(STANDINGS)
def test_the_choice_ends_no_later_than_the_best_expected(standings: list[Standing]) -> None:
    cells = [replace(s, label=str(s.number)) for s in standings]
    known = ends(cells)
    taken = cells[choose(cells).order[0]]
    if not known:
        assert taken.best_so_far == max(s.best_so_far for s in cells)
        return
    best = max((s for s in cells if s.label in known), key=lambda s: known[s.label].map50)
    assert taken.epoch_s <= best.epoch_s


def test_a_slower_twin_goes_out_and_a_faster_one_stays() -> None:
    slow = standing(0, learn(8, noise=0.05, seed=1), 2.0, 8, label="b2×a4")
    fast = standing(1, learn(8, noise=0.05, seed=2), 1.0, 8, label="b8×a1")
    judged = judge_rung([slow, fast])
    assert judged.going == (1,)
    said = (
        r"stopped after 8 of 40 epochs: 0\.9\d expected at the end, not known to be better than "
    )
    assert re.fullmatch(said + r"b8×a1 \(0\.9\d\), which ends 2\.00 times as fast", judged.out[0])


def test_a_slower_twin_that_learns_surely_better_stays() -> None:
    slow = standing(0, learn(12, slope=0.8), 2.0, 8)
    fast = standing(1, learn(12, slope=0.3), 1.0, 8)
    assert judge_rung([slow, fast]).going == (0,)


def test_a_slower_cell_of_another_effective_batch_goes_on_so_long_as_it_may_win() -> None:
    small = standing(0, learn(6, slope=0.5), 1.5)
    large = standing(1, learn(6, slope=0.47), 1.0)
    assert judge_rung([small, large]).going == (0, 1)


def test_a_slower_cell_that_can_gain_nothing_goes_out() -> None:
    small = standing(0, learn(24, slope=1.5), 1.5)
    large = standing(1, learn(24, slope=1.5), 1.0)
    judged = judge_rung([small, large])
    assert judged.going == (1,)
    assert judged.out[0].endswith("which ends 1.50 times as fast")


def test_a_cell_that_is_surely_behind_goes_out_though_it_is_faster() -> None:
    good = standing(0, learn(12, slope=0.8), 2.0, label="b2×a1")
    bad = standing(1, learn(12, slope=0.25), 1.0)
    judged = judge_rung([good, bad])
    assert judged.going == (0,)
    found = re.search(r"behind b2×a1 \(.*\) by (\d+) ± (\d+) points$", judged.out[1])
    assert found
    assert int(found[1]) > int(found[2])


def test_nobody_is_judged_before_learning_has_begun() -> None:
    standings = [standing(i, NOT_BEGUN, 1.0 + i) for i in range(4)]
    assert judge_rung(standings).going == (0, 1, 2, 3)


def test_a_cell_that_learns_late_is_not_beaten_by_an_early_lead() -> None:
    early = standing(0, learn(6, begins=1, slope=1.2), 1.5)
    late = standing(1, NOT_BEGUN, 1.0)
    assert judge_rung([early, late]).going == (0, 1)


def test_a_cell_that_cannot_catch_up_any_more_goes_out() -> None:
    early = standing(0, learn(32, slope=0.8), 1.5, label="b2×a1")
    late = standing(1, (0.0,) * 32, 1.0)
    judged = judge_rung([early, late])
    assert judged.going == (0,)
    assert judged.out[1].startswith("stopped after 32 of 40 epochs: learning has not begun, 0.8")
    assert "behind b2×a1" in judged.out[1]


def test_a_cell_that_stands_above_the_leader_is_not_called_too_late() -> None:
    steady = standing(0, (0.3, 0.45, 0.55, 0.62, 0.67, 0.71), 1.0, label="b2×a1")
    dipped = standing(1, (0.3, 0.5, 0.7, 0.75, 0.03, 0.78), 1.0)
    assert judge_rung([steady, dipped]).going == (0, 1)


def test_the_best_epoch_so_far_is_asked_of_the_standing_not_of_its_curve() -> None:
    early = standing(0, learn(32, slope=0.8), 1.5, label="b2×a1")
    late = standing(1, (0.0,) * 30 + (0.97, 0.0), 1.0)  # a peak that mAP@0.5:0.95 does not share
    assert judge_rung([early, late]).going == (0, 1)
    assert judge_rung([early, replace(late, best=0.02)]).going == (0,)


def test_no_end_is_expected_below_zero() -> None:
    late = (0.06,) * 4 + tuple(0.06 + 0.0312 * e for e in range(1, 31))
    judged = judge_rung([standing(0, late, 1.0, label="b2×a1"), standing(1, (0.0,) * 34, 2.0)])
    assert judged.going == (0,) and "0.00 at best at the end" in judged.out[1]


def test_the_seeds_of_a_cell_go_together() -> None:
    seeds = [standing(i, learn(8, noise=0.1, seed=i), 1.0 + i / 9, 8, label="x") for i in range(3)]
    assert judge_rung(seeds).going == (0, 1, 2)
    worse = [standing(i, learn(8, slope=0.1, seed=i), 1.0, 8, label="y") for i in range(3, 6)]
    assert judge_rung([*seeds, *worse]).going == (0, 1, 2)
    assert set(judge_rung([*seeds, *worse]).out) == {3, 4, 5}


def test_of_cells_that_cannot_be_told_apart_the_fastest_is_taken() -> None:
    cells = [standing(i, learn(16, noise=0.1, slope=1.2, seed=i), 3.0 - i) for i in range(3)]
    assert choose(cells).order[0] == 2


def test_of_equally_fast_ones_the_one_with_more_memory_to_spare_is_taken() -> None:
    spare = (None, 2.0, 3.0)
    cells = [standing(i, learn(16), 1.0, 8, free) for i, free in enumerate(spare)]
    assert choose(cells).order[0] == 2
    assert judge_rung(cells).going == (2,)


def test_a_cell_that_has_not_begun_is_not_taken_before_one_that_has() -> None:
    assert choose([standing(0, NOT_BEGUN, 1.0), standing(1, learn(6), 9.0)]).order[0] == 1
    assert choose([standing(0, NOT_BEGUN, 2.0), standing(1, NOT_BEGUN, 1.0)]).order[0] == 1
    higher = standing(1, (*NOT_BEGUN[:-1], 0.3), 2.0)
    chosen = choose([standing(0, NOT_BEGUN, 1.0), higher, standing(2, NOT_BEGUN, 1.5)])
    assert chosen.order == (1, 0, 2)
    assert chosen.passed == {n: "learning has not begun" for n in ("b0", "b2")}


def test_of_nothing_nothing_can_be_taken() -> None:
    with pytest.raises(ValueError, match="cannot be empty"):
        choose([]).order[0]


@pytest.mark.parametrize("seed", range(10))
def test_a_small_effective_batch_that_wins_in_the_end_is_found(seed: int) -> None:
    def grid(trained: int) -> list[Standing]:
        floors = (0.05, 0.09, 0.13, 0.17)
        return [
            standing(i, learn(trained, 1 + i, 1.2, floor, 0.1, 10 * seed + i), 2.5 - i / 2)
            for i, floor in enumerate(floors)
        ]

    going: set[int] = {0, 1, 2, 3}
    for rung in default_rungs(EPOCHS):
        standings = [s for s in grid(rung) if s.number in going]
        going = set(judge_rung(standings).going)
    assert choose([s for s in standings if s.number in going]).order[0] == 0


def test_epochs_are_those_of_the_whole_run() -> None:
    cells = [standing(0, learn(12, slope=0.5)), standing(1, learn(12, slope=0.5))]
    near = [replace(s, epochs=13) for s in cells]
    far = ends(cells).get("b0")
    close = ends(near).get("b0")
    assert far is not None and close is not None
    assert far.map50 > close.map50
