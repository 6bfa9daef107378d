"""Which cell is recommended, how sure that is, and what else one may take."""

from dataclasses import replace

import pytest
from scipy.stats import ttest_rel

from sweeper.report.answer import answer, verdict
from sweeper.report.certainty import certainty, paired_gap
from sweeper.report.decision import commands, decision, finishing
from sweeper.report.document import render
from sweeper.report.findings import Findings
from sweeper.report.picks import best_in, left_out, picks, picks_in_words
from sweeper.report.tables import comparison, every_trial, memory
from sweeper.trial.record import Outcome
from tests.report.synthetic import Row, recorded

EPOCHS = 40


def learn(epochs: int, slope: float) -> tuple[float, ...]:
    """A smooth curve whose error falls as a power of the epoch."""
    return tuple(1 - (1 + epoch) ** -slope for epoch in range(1, epochs + 1))


def whole(batch: int, map50: float, time_s: float, peak_gib: float = 1.0, **more) -> Row:
    """A run to its end; its curve is smooth and ends in ``map50``."""
    curve = tuple(map50 * (1 - 0.5**epoch) for epoch in range(1, 21))
    curve = (*curve[:-1], map50)
    return Row(
        batch, 1, False, map50=curve, wall_time_s=time_s, peak_gib=peak_gib, epochs=20, **more
    )


def part(batch: int, epochs: int, slope: float, epoch_s: float, **more) -> Row:
    """A run that has come to a rung."""
    given = {"peak_gib": float(batch), "wall_time_s": epochs * epoch_s} | more
    return Row(
        batch, 1, False, map50=learn(epochs, slope), epochs=EPOCHS, epoch_s=epoch_s, whole=False,
        **given,
    )  # fmt: skip


def seeds(batch: int, first: float, fresh: list[float], time_s: float, number: int) -> list[Row]:
    """A whole run with the repetitions of it."""
    return [
        whole(batch, first, time_s),
        *(whole(batch, m, time_s, seed=s, confirms=number) for s, m in enumerate(fresh, 1)),
    ]


def findings(*rows: Row) -> Findings:
    return Findings(recorded(rows))


def with_seeds(*cells: tuple[int, float, list[float], float]) -> Findings:
    """First the runs of the search, then their repetitions, as a study does it."""
    firsts = [seeds(*cell, number)[0] for number, cell in enumerate(cells)]
    fresh = [row for number, cell in enumerate(cells) for row in seeds(*cell, number)[1:]]
    return findings(*firsts, *fresh)


class TestChoice:
    def test_of_whole_runs_that_cannot_be_told_apart_the_one_that_ends_first_is_taken(
        self,
    ) -> None:
        found = findings(whole(2, 0.803, 200.0), whole(8, 0.800, 100.0), whole(4, 0.798, 150.0))
        assert [c.name for c in found.ranked] == ["b2×a1", "b8×a1", "b4×a1"]
        assert found.recommended is not None and found.recommended.name == "b8×a1"

    def test_one_that_is_surely_worse_is_not_taken_because_it_is_faster(self) -> None:
        found = findings(whole(2, 0.90, 200.0), whole(8, 0.60, 100.0))
        assert found.winner is not None and found.winner.name == "b2×a1"

    def test_of_two_as_fast_the_one_with_more_memory_to_spare_is_taken(self) -> None:
        found = findings(whole(2, 0.801, 100.0, 9.0), whole(8, 0.800, 100.0, 5.0))
        assert found.winner is not None and found.winner.name == "b8×a1"

    def test_one_epoch_tells_what_a_prior_for_the_noise_tells(self) -> None:
        def brief(batch: int, map50: float, time_s: float) -> Row:
            return Row(batch, 1, False, map50=(map50,), wall_time_s=time_s, epochs=1)

        near = findings(brief(2, 0.41, 9.0), brief(8, 0.40, 5.0))
        far = findings(brief(2, 0.60, 9.0), brief(8, 0.40, 5.0))
        assert near.winner and far.winner
        assert (near.winner.name, far.winner.name) == ("b8×a1", "b2×a1")

    def test_seeds_that_scatter_leave_more_undecided_than_seeds_that_agree(self) -> None:
        def swept(spread: float) -> Findings:
            return findings(
                *(whole(2, 0.82 + d, 200.0, seed=n) for n, d in enumerate((-spread, 0, spread))),
                *(whole(8, 0.80 + d, 100.0, seed=n) for n, d in enumerate((spread, 0, -spread))),
            )

        agree, scatter = swept(0.001).winner, swept(0.18).winner
        assert agree and scatter
        assert (agree.name, scatter.name) == ("b2×a1", "b8×a1")

    def test_what_was_chosen_for_being_good_counts_no_more_once_it_was_repeated(self) -> None:
        found = with_seeds(
            (2, 0.90, [0.80, 0.81, 0.79], 200.0), (8, 0.84, [0.83, 0.84, 0.83], 200.0)
        )
        lucky, steady = found.cells
        assert lucky.map50 == pytest.approx(0.80) and steady.map50 == pytest.approx(
            0.8333, abs=1e-3
        )
        assert found.winner is steady

    def test_a_run_that_was_finished_stays_chosen(self) -> None:
        rest = part(8, 16, 0.9, 1.0), part(2, 16, 0.9, 2.0)
        finished = Row(4, 1, False, map50=learn(EPOCHS, 0.5), epochs=EPOCHS, finished=True)
        found = findings(*rest, finished)
        assert found.winner is not None and found.winner.name == "b4×a1"
        assert "its weights are in `trials/0002/weights/best.pt`" in render(found, set())
        assert "of b4×a1 was finished here; its best weights are in `trials/0002/" in commands(
            found
        )
        assert commands(findings(*rest)).startswith("To train the whole run")

    def test_a_finished_run_is_compared_as_it_stood_beside_the_others(self) -> None:
        """It ended far above what was expected; the other might have done so as well."""
        begun = part(2, 16, 0.9, 1.0), part(4, 16, 0.9, 1.0)
        curve = (*begun[0].map50, *(0.99 for _ in range(EPOCHS - 16)))
        finished = replace(
            begun[0], map50=curve, whole=True, finished=True, wall_time_s=1.0 * EPOCHS
        )
        before, after = findings(*begun), findings(finished, begun[1])
        assert (before.rung, after.rung) == (0, 16)
        assert {n: g.least < 0 < g.most for n, g in before.leads.items()} == {"b4×a1": True}
        assert after.leads == before.leads
        one, other = after.cells
        assert after.end(one) == pytest.approx(0.99)
        assert after.comparable_end(one) == pytest.approx(before.end(before.cells[0]))
        assert after.comparable_end(other) == pytest.approx(before.end(before.cells[1]))
        assert best_in(after)["best mAP@0.5"].name == best_in(before)["best mAP@0.5"].name
        said = certainty(after)
        assert "After 16 epochs 0." in said and "only as it stood then can it be compared" in said
        assert "It was expected to end" in said and "which of the two ends higher is" in said
        text = render(after, set())
        assert "The run that was finished is judged" in text
        assert "The run that was finished is judged" not in render(before, set())

    def test_no_cell_is_recommended_of_whose_end_nothing_could_be_expected(self) -> None:
        blind = [replace(part(b, 4, 0.9, 1.0), map50=(0.0, 0.0, 0.02, 0.04)) for b in (8, 4)]
        found = findings(*blind)
        assert found.winner is not None and found.recommended is None
        assert found.to_confirm(2) == []
        lower = replace(blind[0], map50=(0.0, 0.0, 0.01, 0.03), wall_time_s=0.5)
        other = findings(lower, blind[1])  # the one that ends first has reached less
        assert other.winner is not None and other.winner.name == "b4×a1" == other.ranked[0].name
        said = verdict(found)
        assert "too early to tell the cells apart**, mAP@0.5 is 0.040 at best" in said
        assert "study.rungs=[]" in said
        assert not picks(found) and not decision(found).rows
        curve = (*blind[0].map50, *(0.1 for _ in range(EPOCHS - 4)))
        ended = replace(blind[0], map50=curve, whole=True, finished=True)
        assert findings(ended, blind[1]).recommended is None, "nor for having been finished"
        assert findings(blind[0]).recommended is not None, "where there is no choice"

    def test_no_end_is_expected_below_the_best_epoch_so_far(self) -> None:
        flat = tuple(0.9 if epoch == 9 else 0.5 for epoch in range(16))
        lucky = findings(*(replace(part(b, 16, 0.9, 1.0), map50=flat) for b in (2, 8)))
        assert [end.low for end in lucky.ends.values()] == [0.9, 0.9]
        assert lucky.end(lucky.cells[0]) == 0.9

    def test_the_recommended_cell_goes_on_by_the_studys_own_command(self) -> None:
        found = findings(part(8, 16, 0.9, 1.0), part(2, 16, 0.9, 2.0))
        found.study = replace(found.study, command="python -m sweeper -m batch=2,8")
        assert finishing(found) == "python -m sweeper -m batch=2,8 study.finish=true"
        assert "goes on after 16 of 40 epochs\npython -m sweeper -m batch=2,8" in commands(found)

    def test_one_that_ended_early_by_itself_is_chosen_by_the_rule_only(self) -> None:
        patience = Row(2, 1, False, map50=(0.0, 0.1, 0.3, 0.3, 0.3, 0.3), epochs=EPOCHS)
        found = findings(part(8, 16, 0.9, 1.0), patience)
        assert found.winner is not None and found.winner.name == "b8×a1"

    def test_parts_are_compared_by_their_ends_whatever_they_have_reached(self) -> None:
        found = findings(
            part(2, 16, 0.8, 2.0), part(8, 16, 0.79, 1.0),
            part(4, 6, 0.8, 1.5, outcome=Outcome.PRUNED, reason="stopped after 6 of 40 epochs: x"),
        )  # fmt: skip
        assert found.recommended is not None and found.recommended.name == "b8×a1"
        (stopped,) = (c for c in found.cells if not c.fits)
        assert found.end(stopped) == pytest.approx(found.end(found.cells[0]), abs=0.02)
        assert stopped.map50 is not None and stopped.map50 < 0.9 * (found.end(stopped) or 0.0)


class TestConfirmations:
    def test_the_pick_comes_first_and_then_the_best_ends(self) -> None:
        found = findings(whole(2, 0.803, 200.0), whole(8, 0.800, 100.0), whole(4, 0.60, 50.0))
        assert found.to_confirm(2) == [1, 0]
        assert found.to_confirm(9) == [1, 0, 2]
        assert found.to_confirm(0) == []

    def test_what_they_show_does_not_change_which_are_run(self) -> None:
        found = with_seeds((2, 0.90, [0.10], 200.0), (8, 0.60, [0.95], 100.0), (4, 0.3, [], 9.0))
        assert found.to_confirm(2) == [0, 1]
        assert found.to_confirm(3) == [0, 1, 2]

    def test_seeds_of_a_cell_are_confirmed_once(self) -> None:
        found = findings(
            whole(2, 0.80, 200.0), whole(2, 0.81, 200.0, seed=1), whole(8, 0.5, 200.0),
            whole(2, 0.80, 200.0, seed=2, confirms=1),
        )  # fmt: skip
        assert found.to_confirm(2) == [1, 2]


class TestCertainty:
    def test_the_interval_is_that_of_students_t_over_the_seeds_in_common(self) -> None:
        a, b = [0.42, 0.43, 0.41, 0.45], [0.40, 0.42, 0.38, 0.44]
        found = with_seeds((2, 0.6, a, 9.0), (8, 0.7, b, 9.0))
        one, other = found.cells
        gap, interval = paired_gap(one, other), ttest_rel(a, b).confidence_interval()
        assert gap is not None
        assert (gap.least, gap.most) == pytest.approx((interval.low, interval.high))
        fewer = with_seeds((2, 0.6, a, 9.0), (8, 0.7, b[:1], 9.0))
        assert paired_gap(*fewer.cells) is None

    def test_pairing_sees_what_the_noise_of_the_seeds_would_hide(self) -> None:
        base = [0.30, 0.50, 0.40]
        found = with_seeds((2, 0.6, [m + 0.02 for m in base], 9.0), (8, 0.6, base, 9.0))
        gap = paired_gap(*found.cells)
        assert gap is not None and 0.019 < gap.least <= gap.most < 0.021

    @pytest.mark.parametrize(
        ("slow", "fast", "said"),
        [
            ([0.93, 0.94, 0.93], [0.70, 0.71, 0.70], "It ended 23.0 points above b8×a1"),
            (
                [0.801, 0.802, 0.803],
                [0.800, 0.801, 0.802],
                "as good as b2×a1 (1.60 times the time)",
            ),
            (
                [0.80, 0.86, 0.78],
                [0.81, 0.79, 0.84],
                "b2×a1 (1.60 times the time); which of the two ends higher is not known",
            ),
        ],
    )
    def test_it_says_how_sure_the_answer_is(self, slow: list, fast: list, said: str) -> None:
        text = certainty(with_seeds((2, 0.9, slow, 160.0), (8, 0.9, fast, 100.0)))
        assert text.startswith(
            "Figures of 3 fresh seeds; the run by which it was chosen is left out."
        )
        assert said in text
        assert "95 %, seed by seed" in text

    def test_within_a_margin_says_the_margin(self) -> None:
        seeds = [0.800, 0.801, 0.802]
        text = certainty(with_seeds((2, 0.9, seeds, 160.0), (8, 0.9, seeds, 100.0)))
        assert "within 1 point (difference +0.0 to +0.0 points, 95 %, seed by seed)." in text

    def test_one_seed_has_the_noise_that_its_curve_tells(self) -> None:
        text = certainty(findings(whole(2, 0.803, 200.0), whole(8, 0.800, 100.0)))
        assert text.startswith("One run with one seed.")
        assert "points, 4 times of 5)." in text
        assert "expected" not in text

    def test_short_curves_leave_it_unknown(self) -> None:
        text = certainty(findings(part(2, 4, 0.8, 2.0), part(8, 4, 0.8, 1.0)))
        assert "b2×a1 (2.00 times the time); which of the two ends higher is not known" in text
        assert "It is expected to end" in text

    def test_what_is_not_known_comes_with_what_tells_more(self) -> None:
        once = certainty(findings(part(2, 4, 0.8, 2.0), part(8, 4, 0.8, 1.0)))
        assert once.endswith("repeats both with other seeds to tell.")
        noisy = [0.81, 0.79, 0.84]
        seeded = with_seeds((2, 0.9, [0.80, 0.86, 0.78], 160.0), (8, 0.9, noisy, 100.0))
        assert certainty(seeded).endswith("with the same command adds seeds to tell.")
        assert "`study.confirm.seeds=6`" in certainty(seeded)
        apart = certainty(findings(whole(2, 0.93, 200.0), whole(8, 0.70, 100.0)))
        assert "study.confirm" not in apart

    def test_cells_that_may_be_better_too_are_counted(self) -> None:
        rows = (part(2, 4, 0.8, 2.0), part(4, 4, 0.8, 1.5), part(8, 4, 0.8, 1.0))
        assert "1 further cell may end higher, too." in certainty(findings(*rows))

    def test_a_cell_alone_says_where_the_others_are(self) -> None:
        out = {"outcome": Outcome.PRUNED, "reason": "stopped after 6 of 40 epochs: behind"}
        assert "Every other cell that fits was stopped on the way" in certainty(
            findings(part(8, 6, 0.9, 1.0), part(2, 6, 0.2, 2.0, **out))
        )
        assert "No other cell completed" in certainty(findings(whole(8, 0.8, 100.0)))


class TestPicks:
    ROWS = (
        whole(2, 0.803, 200.0, 3.0),
        whole(8, 0.800, 100.0, 9.0),
        whole(16, 0.500, 60.0, 12.0),
        whole(32, 0.0, 10.0, 1.0),
    )

    def test_each_is_named_once_with_what_it_is_best_in(self) -> None:
        found = findings(*self.ROWS)
        assert {names: c.name for names, c in picks(found).items()} == {
            "best mAP@0.5 and least memory": "b2×a1",
            "fastest to the end": "b16×a1",
        }
        assert "b2×a1, mAP@0.5 0.803 (" in answer(found)

    def test_nothing_is_said_where_the_recommended_cell_is_best_in_all(self) -> None:
        best = whole(8, 0.95, 50.0, 1.0)
        found = findings(best, replace(best, batch=4, wall_time_s=60.0, peak_gib=2.0))
        assert picks(found) == {} and picks_in_words(found) == ""

    def test_a_second_saved_is_no_reason_to_take_another_cell(self) -> None:
        found = findings(*self.ROWS[:2], whole(16, 0.5, 97.0, 12.0))
        assert best_in(found)["fastest to the end"].name == "b8×a1"

    def test_on_a_busy_machine_none_is_the_fastest(self) -> None:
        study = recorded(self.ROWS)
        trials = [
            replace(t, result=replace(t.result, cpu_wait=0.3)) if t.spec.batch == 8 else t
            for t in study.trials
            if t.result is not None
        ]
        busy = Findings(replace(study, trials=tuple(trials)))
        assert busy.recommended is not None and busy.recommended.name == "b8×a1"
        assert "fastest to the end" not in best_in(busy)

    def test_what_detects_nothing_is_no_pick(self) -> None:
        assert picks(findings(*self.ROWS[3:])) == {}

    def test_a_cell_that_was_stopped_may_need_the_least_memory_but_is_not_the_best(self) -> None:
        out = {"outcome": Outcome.PRUNED, "reason": "stopped after 6 of 40 epochs: behind"}
        found = findings(part(8, 16, 0.9, 1.0), part(2, 6, 1.2, 2.0, **out))
        assert list(picks(found)) == ["least memory"]
        assert "stopped after 6 of 40 epochs" in picks_in_words(found)

    def test_what_seems_better_and_is_not_counted_is_said(self) -> None:
        assert left_out(findings(*self.ROWS)) == (
            "Not counted: b32×a1 took less time, but detected next to nothing."
        )
        assert left_out(findings(*self.ROWS)) in answer(findings(*self.ROWS))
        out = {"outcome": Outcome.PRUNED, "reason": "stopped after 6 of 40 epochs: behind"}
        above = findings(part(8, 16, 0.8, 2.0), part(2, 6, 1.2, 1.5, **out))
        said = "Not counted: b2×a1 stopped after 6 of 40 epochs, might have ended higher."
        assert left_out(above) == said
        short = replace(part(4, 3, 1.0, 1.0, **out), map50=(0.0, 0.0, 0.3))
        assert left_out(findings(part(8, 16, 0.8, 2.0), short)) == (
            "Not counted: b4×a1 took less time, but had an end that cannot be told yet."
        )
        assert left_out(findings(whole(8, 0.8, 100.0))) == ""

    def test_a_single_run_beside_confirmed_cells_is_called_so(self) -> None:
        found = with_seeds((2, 0.70, [0.70, 0.70], 90.0), (8, 0.9, [], 100.0))
        assert found.recommended is found.cells[0]
        assert "best mAP@0.5: b8×a1" in picks_in_words(found)
        assert "(1 run, not repeated with fresh seeds)" in picks_in_words(found)


class TestTables:
    OUT = "stopped after 6 of 40 epochs: 0.60 expected at the end, behind b2×a1 by 30 points"
    ROWS = (
        part(2, 16, 0.8, 2.0),
        part(8, 16, 0.79, 1.0),
        part(4, 6, 0.2, 1.5, outcome=Outcome.PRUNED, reason=OUT),
        Row(32, 1, False, Outcome.OUT_OF_MEMORY, 30.0, reason="too large", epochs=EPOCHS),
    )

    def rows(self, table) -> dict[str, dict[str, str]]:
        assert len({len(row) for row in table.rows} | {len(table.header)}) == 1
        return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}

    def test_every_row_says_how_far_it_was_trained_and_why(self) -> None:
        rows = self.rows(comparison(findings(*self.ROWS)))
        assert {name: row["epochs"] for name, row in rows.items()} == {
            "b2×a1": "16 of 40", "b8×a1": "16 of 40", "b4×a1": "6 of 40", "b32×a1": "–"
        }  # fmt: skip
        assert rows["b8×a1"]["verdict"] == "**recommended**"
        assert rows["b4×a1"]["verdict"] == self.OUT
        assert rows["b32×a1"]["verdict"] == "does not fit"
        assert "not known to be better than b8×a1" in rows["b2×a1"]["verdict"]
        trials = every_trial(findings(*self.ROWS))
        assert all(row[-1] for row in trials.rows)

    def test_a_cell_has_its_rate_its_whole_time_and_what_is_left(self) -> None:
        found = findings(*self.ROWS)
        assert self.rows(comparison(found))["b2×a1"]["whole run"] == "1 min 20 s"
        assert self.rows(comparison(found))["b2×a1"]["images/s"] == "30"
        left = self.rows(memory(found))
        assert left["b2×a1"]["left under the budget"] == "21.6 GiB (92 %)"
        assert left["b32×a1"]["left under the budget"] == "does not fit"

    def test_changes_are_those_of_the_whole_runs(self) -> None:
        changes = self.rows(memory(findings(*self.ROWS)))["b4×a1"]
        assert changes["time change"] == "+50 %", "of 40 epochs, not of those trained"


def test_while_trials_run_it_is_not_said_that_nothing_fits() -> None:
    row = whole(16, 0.0, 1.0)
    no_room = replace(row, outcome=Outcome.OUT_OF_MEMORY, map50=())
    running = replace(row, batch=8, outcome=None, map50=())
    found = findings(no_room, running)
    assert answer(found).startswith("**No answer yet: no trial has completed.**")


def test_what_was_trained_in_part_only_is_not_blamed_for_it() -> None:
    said = answer(findings(part(8, 6, 0.0, 1.0), part(4, 6, 0.0, 2.0)))
    assert "Only 6 of 40 epochs were trained." in said and "study.rungs=[]" in said


def test_of_the_times_of_a_busy_machine_the_waits_are_taken_off_and_no_ratio_is_told() -> None:
    study = recorded([whole(8, 0.80, 150.0), whole(4, 0.80, 120.0)])
    pairs = zip(study.trials, (0.5, 0.2), strict=True)  # 75 and 96 seconds without their waits
    trials = [replace(t, result=replace(t.result, cpu_wait=w)) for t, w in pairs if t.result]
    busy = Findings(replace(study, trials=tuple(trials)))
    assert busy.choice is not None
    assert busy.choice.passed == {
        "b4×a1": "not known to be better than b8×a1 (0.80), "
        "which ends sooner as far as a busy machine shows"
    }
