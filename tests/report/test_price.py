"""What a lever buys, and what it costs: only between cells that were run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeper.report.answer import answer
from sweeper.report.article import claims
from sweeper.report.effects import strategy_changes
from sweeper.report.findings import Findings
from sweeper.report.price import prices_in_words
from sweeper.report.words import cell_in_words
from sweeper.trial.record import Outcome
from tests.report.synthetic import ARTICLE, Row, recorded


def row(batch: int, checkpoint: str, seconds: float | None, amp: bool = False) -> Row:
    """A cell of effective batch 16 that took so long; None: it does not fit."""
    fits = seconds is not None
    return Row(
        batch,
        16 // batch,
        amp,
        Outcome.COMPLETE if fits else Outcome.OUT_OF_MEMORY,
        10.0 if fits else 30.0,
        (0.1, 0.3, 0.4) if fits else (),
        seconds or 0.0,
        source="measured",
        checkpoint=checkpoint,
    )


def said(*rows: Row) -> str:
    return prices_in_words(Findings(recorded(rows)).cells)


FULL = row(16, "none", None)


def test_the_price_is_the_time_of_the_larger_batch_against_the_largest_without() -> None:
    rows = (FULL, row(8, "none", 100.0), row(4, "none", 90.0), row(16, "all", 128.0))
    text = "checkpoint=all buys batch 16 instead of 8 for 28 % more time per epoch."
    assert said(*rows) == text
    assert text in answer(Findings(recorded(rows)))


def test_of_two_values_that_buy_the_same_the_faster_one_is_named() -> None:
    both = (row(16, "backbone", 110.0), row(16, "all", 120.0))
    assert said(FULL, row(8, "none", 100.0), *both).startswith(
        "checkpoint=backbone buys batch 16 instead of 8 for 10 % more"
    )
    rows = (FULL, row(8, "none", 100.0), both[0], row(32, "all", 90.0))
    rows = tuple(replace(r, accumulate=1) for r in rows)
    assert said(*rows).endswith(
        "; checkpoint=all buys batch 32 instead of 8 for 10 % less time per epoch."
    )


def test_the_sentence_says_with_amp_and_where_memory_is_not_measured() -> None:
    rows = (row(16, "none", None, True), row(8, "none", 100.0, True), row(16, "all", 150.0, True))
    told = [replace(r, source="simulated") for r in rows]
    assert said(*told) == (
        "checkpoint=all buys batch 16 instead of 8 for 50 % more time per epoch with amp "
        "(memory simulated, time that of the CPU)."
    )


@pytest.mark.parametrize(
    "rows",
    [
        (row(8, "none", 100.0), row(16, "all", 128.0)),  # batch 16 without was not tried
        (FULL, row(16, "all", 128.0)),  # nothing fits without
        (FULL, row(8, "none", 100.0), row(8, "all", 128.0)),  # no larger batch
        (FULL, row(8, "none", 100.0), row(16, "all", 128.0, amp=True)),  # two levers at once
        (FULL, row(8, "none", 100.0), replace(row(16, "all", 128.0), accumulate=4)),
    ],
)
def test_nothing_is_said_where_the_pair_does_not_exist(rows: tuple[Row, ...]) -> None:
    assert said(*rows) == ""


def test_a_lever_has_its_row_among_the_changes_and_disturbs_no_other() -> None:
    rows = (
        *(row(b, c, 100.0 + b + len(c)) for b in (4, 8) for c in ("none", "backbone", "all")),
        row(8, "all", 99.0, amp=True),
    )
    found = {
        change.title: change.pairs for change in strategy_changes(Findings(recorded(rows)).cells)
    }
    names = {title: [f"{a.name} -> {b.name}" for a, b in pairs] for title, pairs in found.items()}
    assert names == {
        "accumulate more on a smaller batch, same effective batch": [
            f"b8×a2{c} -> b4×a4{c}" for c in ("", " checkpoint=backbone", " checkpoint=all")
        ],
        "amp on instead of off": ["b8×a2 checkpoint=all -> b8×a2 amp checkpoint=all"],
        **{
            f"checkpoint={c} instead of none": [
                f"b{b}×a{16 // b} -> b{b}×a{16 // b} checkpoint={c}" for b in (4, 8)
            ]
            for c in ("backbone", "all")
        },
    }  # fmt: skip


def test_a_lever_is_in_the_name_whether_it_was_swept_or_is_a_strategys_own() -> None:
    swept = replace(row(16, "all", 1.0), overrides=("memory.checkpoint=all",))
    (cell,) = Findings(recorded([swept])).cells
    assert (cell.name, cell.title) == ("b16×a1 checkpoint=all",) * 2
    assert cell_in_words(cell) == "batch 16 × accumulate 1, amp off, checkpoint all"
    (cell,) = Findings(recorded([replace(row(16, "all", 1.0), strategy="checkpoint")])).cells
    assert (cell.name, cell.title) == ("b16×a1 checkpoint=all", "checkpoint")
    (cell,) = Findings(recorded([replace(swept, strategy="baseline")])).cells
    assert cell.title == "baseline checkpoint=all"


def test_what_pulls_a_lever_is_not_the_articles_cell_nor_the_reference() -> None:
    levers = [replace(r, checkpoint="all", overrides=("memory.checkpoint=all",)) for r in ARTICLE]
    findings = Findings(recorded([*ARTICLE, *levers]))
    assert claims(findings) == claims(Findings(recorded(ARTICLE)))
    assert claims(Findings(recorded(levers))) is None
    assert findings.reference is not None and findings.reference.spec.checkpoint == "none"
    assert findings.baseline is not None and findings.baseline.spec.checkpoint == "none"
