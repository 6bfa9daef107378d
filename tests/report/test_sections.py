"""What the report says at its top, of its winner's classes, and before a study has ended."""

from __future__ import annotations

from dataclasses import replace

from sweeper.report.answer import answer, verdict
from sweeper.report.classes import MAX_CLASSES, classes, classes_source
from sweeper.report.decision import commands, decision
from sweeper.report.document import render
from sweeper.report.findings import Findings
from sweeper.report.tables import change_effects, every_trial
from sweeper.trial.study_record import StudyStatus
from tests.report.synthetic import Row, recorded

FAST = Row(8, 1, False, peak_gib=18.2, map50=(0.4, 0.41), wall_time_s=100.0, epochs=2)
GOOD = Row(2, 1, False, peak_gib=8.1, map50=(0.4, 0.412), wall_time_s=180.0, epochs=2)


def findings(*rows: Row, status: StudyStatus = StudyStatus.FINISHED) -> Findings:
    record = recorded(rows)
    return Findings(replace(record, study=replace(record.study, status=status)))


class TestDecision:
    def test_each_cell_is_a_column_named_by_what_it_is_best_in(self) -> None:
        table = decision(findings(FAST, GOOD))
        assert table.header == [
            "", "recommended, fastest to the end", "best mAP@0.5, least memory"
        ]  # fmt: skip
        rows = {row[0]: row[1:] for row in table.rows}
        assert rows["cell"] == ["**b8×a1**", "**b2×a1**"]
        assert rows["mAP@0.5 at the end"] == ["0.410", "0.412"]
        assert rows["mAP@0.5:0.95 as trained"] == ["0.246", "0.247"]
        assert rows["peak"] == ["18.2 GiB, simulated", "8.10 GiB, simulated"]
        assert rows["left under the budget"] == ["5.45 GiB (23 %)", "15.5 GiB (66 %)"]
        assert rows["whole run"] == ["1 min 40 s", "3 min 00 s"]
        assert rows["images/s"] == ["30", "30"] and rows["seeds"] == ["1 seed", "1 seed"]
        assert all(" to " in interval for interval in rows["interval, 4 times of 5"])

    def test_each_cell_has_a_command_to_copy(self) -> None:
        text = commands(findings(FAST, GOOD))
        said = "{}\npython -m sweeper -m study.name=article-{} study.finish=true {} amp"
        for title, name, cell in (
            ("recommended, fastest to the end: b8×a1", "b8a1", "batch=8 accumulate=1"),
            ("best mAP@0.5, least memory: b2×a1", "b2a1", "batch=2 accumulate=1"),
        ):
            assert said.format(title, name, cell) in text

    def test_it_stands_before_the_verdict_of_one_sentence(self) -> None:
        _, table, sentence, *_ = render(findings(FAST, GOOD), set()).split("\n\n")
        assert table.startswith("|") and sentence.startswith("**Use batch 8")
        assert sentence.count(". ") == 0

    def test_without_a_recommendation_there_is_none_and_nothing_to_deploy(self) -> None:
        text = render(findings(Row(4, 1, False, map50=(0.0,), wall_time_s=3.0)), set())
        assert text.split("\n\n")[1].startswith("**No recommendation")
        assert "sweeper.deploy" not in text


class TestBeforeTheEnd:
    def test_one_trial_after_a_stop_is_what_is_known_and_no_choice(self) -> None:
        found = findings(FAST, status=StudyStatus.KILLED)
        said = answer(found)
        assert "Use" not in said
        assert said.startswith("**No answer yet; the only cell that has completed is batch 8 ×")
        assert "The same command continues it." in said
        text = render(found, set())
        assert "recommended" not in text.split("## What was asked")[0]
        assert "**leads so far**" in text and "sweeper.deploy" not in text

    def test_the_one_that_leads_is_said_to(self) -> None:
        said = verdict(findings(FAST, GOOD, status=StudyStatus.RUNNING))
        assert said.startswith("**No answer yet; of the 2 cells that have completed, batch 8 ×")


class TestEffects:
    def test_only_pairs_of_which_all_is_known_count(self) -> None:
        on = replace(FAST, amp=True, peak_gib=14.56, wall_time_s=86.0, map50=(0.4, 0.424))
        unknown = replace(GOOD, amp=True, peak_gib=None)
        (row,) = (
            r for r in change_effects(findings(FAST, GOOD, on, unknown)).rows if "amp" in r[0]
        )
        assert row == ["amp on instead of off", "1", "-20 %", "+1.4", "-14 %"]

    def test_several_pairs_have_their_spread(self) -> None:
        on = [
            replace(r, amp=True, wall_time_s=r.wall_time_s * f)
            for r, f in ((FAST, 0.8), (GOOD, 0.9))
        ]
        rows = {r[0]: r for r in change_effects(findings(FAST, GOOD, *on)).rows}
        assert rows["amp on instead of off"][1] == "2"
        assert rows["amp on instead of off"][4] == "-15 % (-20 % to -10 %)"

    def test_cells_that_accumulate_show_the_next_larger_batch_too(self) -> None:
        rows = [replace(r, accumulate=a) for r in (FAST, GOOD) for a in (1, 2)]
        found = {r[0]: r for r in change_effects(findings(*rows)).rows}
        assert found["the next larger batch alone"][1] == "2"


def test_the_report_says_once_of_which_epoch_its_map_is() -> None:
    text = render(findings(FAST, GOOD), set())
    assert text.count("that of its best epoch by mAP@0.5:0.95") == 1


def test_where_another_cell_than_the_chosen_one_detects_something_that_is_said() -> None:
    slow = Row(2, 1, False, map50=(0.0, 0.001, 0.013), wall_time_s=14.0)
    fast = Row(4, 1, False, map50=(0.0, 0.0, 0.0), wall_time_s=8.5)
    found = findings(fast, slow)
    assert found.recommended is None and found.winner and found.winner.name == "b4×a1"
    said = verdict(found)
    assert "too early to tell the cells apart**, mAP@0.5 is 0.013 at best so far (b2×a1)" in said
    assert said.endswith("Train longer, e.g. with more train.epochs and another study.name.")
    assert "below" not in said
    assert "the best cell detects nothing yet" in verdict(
        findings(fast, replace(slow, map50=(0.0,)))
    )


class TestClasses:
    def test_the_winners_come_worst_first_with_their_trial(self) -> None:
        found = findings(replace(FAST, classes={"dog": 0.61, "kite": 0.23}))
        assert classes(found).rows == [["kite", "0.230"], ["dog", "0.610"]]
        assert classes_source(found) == (
            "Every class that was validated, the worst first: of trial 0 in epoch 2, its best so "
            "far."
        )

    def test_of_many_the_worst_are_shown_and_counted(self) -> None:
        found = findings(replace(FAST, classes={f"c{n}": n / 100 for n in range(80)}))
        assert len(classes(found).rows) == MAX_CLASSES
        assert classes_source(found).startswith("The 20 worst of 80 classes")

    def test_an_older_record_has_no_such_section(self) -> None:
        assert "class by class" not in render(findings(FAST), set())


def test_a_repetition_is_named_by_the_trial_that_it_repeats() -> None:
    again = replace(FAST, seed=1, confirms=0)
    assert [row[0] for row in every_trial(findings(FAST, again)).rows] == ["0", "0, repeat 1"]
