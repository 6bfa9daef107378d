"""python -m sweeper.plan plan.ladder=true: which rungs there are, and in which order."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from sweeper.errors import SweeperError
from sweeper.memory.budget import Budget
from sweeper.memory.config import MemoryConfig
from sweeper.memory.contents import Contents
from sweeper.plan.__main__ import main
from sweeper.plan.cells import Setup
from sweeper.plan.ladder import climb
from sweeper.plan.predictions import PlanCell
from tests.conftest import link_traces

LIMIT_GIB = 10.0


def cells(saved: dict[str, float], image_gib: float = 1.0) -> list[PlanCell]:
    """Every combination; so much for each image, less the share that each lever saves."""
    budget = Budget(LIMIT_GIB, 0.0, "toy", "typed")
    found = []
    for amp in (False, True):
        for expandable in (True, False):
            for checkpoint in ("all", "none", "backbone"):
                config = MemoryConfig(
                    "m.yaml", 1, 1, False, amp, 640, "SGD", 8.0,
                    expandable=expandable, checkpoint=checkpoint,
                )  # fmt: skip
                setup = Setup("m", budget, config, Contents(1, 8.0, "assumed"))
                share = 1.0 - saved["amp"] * amp - saved["expandable"] * expandable
                share -= saved.get(checkpoint, 0.0)
                for batch in (1, 2, 4, 8, 16, 32):
                    gib = batch * share * image_gib
                    found.append(PlanCell(setup, batch, 32 // batch, gib, gib, {}))
    return found


def names(rungs: list[PlanCell]) -> list[str]:
    amp = {False: "", True: " amp"}
    return [
        f"{c.batch}{amp[c.setup.config.amp]} {c.setup.config.allocator} "
        f"{c.setup.config.checkpoint}" for c in rungs
    ]  # fmt: skip


def test_free_levers_come_first_then_smaller_batches_then_what_costs_time() -> None:
    rungs = climb(cells({"amp": 0.4, "expandable": 0.1, "backbone": 0.15, "all": 0.3}))
    assert names(rungs) == [
        "32 default none",
        "32 amp default none",
        "32 amp expandable none",
        "16 amp expandable none",  # 8 GiB: the cheapest that fits
        "32 amp expandable backbone",
        "32 amp expandable all",  # 6.4 GiB
    ]
    assert [c.verdict == "fits" for c in rungs] == [False, False, False, True, False, True]


def test_the_ladder_ends_where_the_whole_batch_fits() -> None:
    rungs = climb(cells({"amp": 0.7, "expandable": 0.1, "backbone": 0.1, "all": 0.2}))
    assert names(rungs) == ["32 default none", "32 amp default none"]
    assert names(climb([c for c in cells({"amp": 0.1, "expandable": 0.1}) if c.batch < 9])) == [
        "8 default none"
    ]


def test_what_needs_no_less_is_no_rung() -> None:
    rungs = climb(cells({"amp": 0.4, "expandable": -0.1, "backbone": 0.2, "all": 0.2}))
    assert names(rungs) == [
        "32 default none",
        "32 amp default none",
        "16 amp default none",
        "32 amp default backbone",
    ]


def test_a_ladder_on_which_nothing_fits_goes_down_to_single_images() -> None:
    rungs = climb(cells({"amp": 0.0, "expandable": 0.0}, image_gib=99.0))
    assert names(rungs) == [f"{batch} default none" for batch in (32, 16, 8, 4, 2, 1)]
    assert {c.verdict for c in rungs} == {"no"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> Path:
    return link_traces(tmp_path_factory.mktemp("runs"), traces)


def ladder(runs: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    main(["plan.ladder=true", "vram=t4", "data.nc=10", *overrides, f"runs_dir={runs}"])
    return capsys.readouterr().out


TIGHT = ("vram.budget_gib=2.2", "plan.boxes_per_image=8")


def test_every_form_says_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(ladder(runs, capsys, *TIGHT, "plan.format=json"))
    rungs = document["rungs"]
    assert (document["effective_batch"], document["source"]) == (16, "simulated")
    assert all(r["batch"] * r["accumulate"] == 16 for r in rungs)
    first, (cheapest,) = rungs[0], [r for r in rungs if r["cheapest"]]
    assert (first["batch"], first["amp"], first["checkpoint"]) == (16, False, "none")
    assert cheapest["verdict"] == "fits" and cheapest["peak_upper_gib"] <= 2.2
    assert "fits" not in [r["verdict"] for r in rungs[: rungs.index(cheapest)]]
    rows = list(csv.DictReader(io.StringIO(ladder(runs, capsys, *TIGHT, "plan.format=csv"))))
    assert [float(r["peak_gib"]) for r in rows] == [r["peak_gib"] for r in rungs]
    assert {r["s_per_image"] for r in rows} == {""}, "nothing was measured"
    said = f"batch={cheapest['batch']} accumulate={cheapest['accumulate']} amp=true"
    for form in ("table", "markdown"):
        text = ladder(runs, capsys, *TIGHT, f"plan.format={form}")
        assert f"yolo11n: the cheapest that fits is {said}" in text
        assert text.count("unknown") == len(rungs) + 1 and "simulated" in text


def test_what_is_typed_holds_for_every_rung(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("batch=16", "memory.allocator=default", "study.effective_batch=32", *TIGHT)
    rungs = json.loads(ladder(runs, capsys, *asked, "plan.format=json"))["rungs"]
    assert {(r["batch"], r["accumulate"], r["allocator"]) for r in rungs} == {(16, 2, "default")}
    assert [(r["amp"], r["checkpoint"]) for r in rungs][:3] == [
        *((False, "none"), (True, "none"), (True, "backbone"))
    ]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["batch=6"], r"reaches an effective batch of 16, but no batch × accumulate .* does"),
        (["memory=baseline"], r"plan\.ladder=true combines levers, and memory= names"),
        (["plan.plot=x.png"], r"plan\.ladder=true only lists .* neither drawn nor verified"),
        (["plan.verify=true"], r"plan\.ladder=true only lists .* neither drawn nor verified"),
    ],
)
def test_what_a_ladder_cannot_do_is_named(
    overrides: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SweeperError, match=says):
        ladder(tmp_path, capsys, *overrides)
