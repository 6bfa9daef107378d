"""python -m sweeper.plan plan.verify=true, on emulated cards."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.readings import load
from sweeper.config.compose import compose_settings
from sweeper.config.settings import StudySettings
from sweeper.errors import SweeperError
from sweeper.memory.budget import Budget
from sweeper.memory.cards import find_budget
from sweeper.memory.config import MemoryConfig
from sweeper.memory.contents import Contents
from sweeper.memory.measure.nvml import Device
from sweeper.plan.__main__ import main
from sweeper.plan.bench import Bench, Fault, Results
from sweeper.plan.cells import Setup
from sweeper.plan.export import COLUMNS
from sweeper.plan.facets import VARYING
from sweeper.plan.predictions import Found, PlanCell
from sweeper.plan.verify import is_of
from sweeper.study.display import StudyDisplay
from sweeper.study.trials import Trials
from sweeper.trial.record import ChildFacts, Ending, Outcome
from tests.conftest import MachineMaker, link_traces
from tests.study.fakes import Table, TableExecutor, trained

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "published_vram.csv"
SMALL = ("batch=1", "amp=false", "data.nc=10", "data.imgsz=640", "plan.boxes_per_image=4")


@pytest.fixture
def runs(tmp_path: Path, traces: Path) -> Path:
    return link_traces(tmp_path / "runs", traces)


def test_the_largest_batch_is_bracketed_on_the_card_and_can_be_exported(
    card: MachineMaker, runs: Path
) -> None:
    machine = card(gib=2, compute="light")
    readings = machine.folder / "readings.csv"
    asked = (
        *SMALL,
        "vram.budget_gib=0.8",
        "vram.context_gib=0.3",
        "plan.effective_batch=1",
        "plan.format=json",
    )
    ours = (f"runs_dir={runs}", "plan.verify=true", f"plan.export={readings}")
    done = machine.command("-m", "sweeper.plan", *asked, *ours)
    assert done.code == 0, done.err
    (verified,) = json.loads(done.out)["verified"]
    tried = {r["batch"]: r for r in verified["readings"]}
    trains, fails = verified["trains"], verified["fails"]
    assert fails == trains + 1 and {trains, fails} <= tried.keys()
    assert tried[trains]["outcome"] == "complete" and tried[trains]["vram_source"] == "emulated"
    assert tried[fails]["outcome"] == "out_of_memory" and tried[fails]["peak_gib"] is None
    assert tried[trains]["peak_gib"] == pytest.approx(tried[trains]["predicted_gib"], rel=0.15)
    assert tried[trains]["batch_s"] > 0

    written = readings.read_text()
    assert str(machine.folder) not in written
    (row,) = csv.DictReader(io.StringIO(written))
    assert (row["batch"], row["gpu"], row["source"]) == (
        "1",
        "Emulated 2 GB",
        "emulated, images equally full",
    )
    (reading,) = load((readings,))
    assert reading.gib < tried[trains]["peak_gib"] and reading.images == 4
    assert not list((runs / "cache/verify").iterdir())


SETUP = Setup(
    model="yolo11n",
    budget=Budget(limit_gib=2.0, context_gib=0.5, card="t4", source=""),
    config=MemoryConfig("yolo11n.yaml", 3, 1, False, False, 32, "SGD", 1.0),
    contents=Contents(3, 1.0, "typed"),
)


@pytest.fixture
def on_bench(tmp_path: Path) -> Callable[[Table], Results]:
    """What comes of trainings of which a table tells how they end, from batch 4 on."""

    def run(table: Table) -> Results:
        results: Results = {}
        display = StudyDisplay(Console(file=io.StringIO()))
        trials = Trials(tmp_path, TableExecutor(table), None, display, measured=True)
        tight = PlanCell(SETUP, 4, 1, peak_gib=1.9, upper_gib=2.1, parts={})
        bench = Bench(trials, tmp_path / "images", StudySettings(), results)
        bench.bracket(SETUP, Found(None, None, tight), effective_batch=1)
        assert not (tmp_path / "images").exists()
        return results

    return run


def test_a_peak_over_the_budget_is_a_batch_that_does_not_train(
    on_bench: Callable[[Table], Results],
) -> None:
    results = on_bench(lambda s: replace(trained(s.batch * 0.35, [0.0]), optimizer_steps=4))
    assert {r.batch: result.outcome for r, result in results.items()} == {
        4: Outcome.COMPLETE,
        5: Outcome.COMPLETE,
        7: Outcome.OVER_BUDGET,
        6: Outcome.OVER_BUDGET,
    }


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (ChildFacts(Ending.ERROR, "no such kernel."), "batch=4, crashed: no such kernel"),
        (
            ChildFacts(Ending.OUT_OF_MEMORY, "short.", "others held 1 GiB"),
            "batch=4, disturbed: .* others held 1 GiB",
        ),
        (trained(1.0, [0.0]), "batch=4, the scaler skipped every step"),
    ],
)
def test_a_training_that_says_nothing_of_memory_ends_it_with_its_reason(
    on_bench: Callable[[Table], Results], facts: ChildFacts, says: str
) -> None:
    with pytest.raises(Fault, match=rf"plan\.verify ended at {says}"):
        on_bench(lambda spec: facts)


OTHER = """
from sweeper.errors import SweeperError
from sweeper.plan.__main__ import main
try:
    main(["vram=rtx3090", "plan.verify=true"])
except SweeperError as error:
    answer(said=str(error))
"""


def test_a_plan_for_another_card_is_refused(card: MachineMaker) -> None:
    said = card(gib=8).run(OTHER)["said"]
    assert "on the card that is here, Emulated 8 GB, but the plan is for vram=rtx3090" in said
    assert "Leave out vram" in said


def test_without_a_card_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SweeperError, match=r"plan\.verify needs a card here.*vram\.emulated=true"):
        main(["vram=t4", "plan.verify=true", f"runs_dir={tmp_path}"])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["plan.export=r.csv"], r"plan\.export=r\.csv writes what plan\.verify=true measures"),
        (["plan.verify=true", "plan.format=csv"], r"plan\.format=csv .* plan\.format=json"),
        (["plan.verify=true", "plan.export=r.txt"], r"plan\.export must end in \.csv but got"),
        (["plan.verify=true", "plan.export=no/r.csv"], r"plan\.export=no/r\.csv .* mkdir -p no"),
    ],
)
def test_what_cannot_be_verified_or_exported_is_named(overrides: list[str], says: str) -> None:
    with pytest.raises(SweeperError, match=says):
        main(overrides)


@pytest.mark.parametrize(
    ("card_file", "name", "gib", "same"),
    [
        ("rtx3090", "NVIDIA GeForce RTX 3090", 24.0, True),
        ("rtx4070ti_super", "NVIDIA GeForce RTX 4070 Ti SUPER", 15.99, True),
        ("rtx4070", "NVIDIA GeForce RTX 4070 Ti SUPER", 15.99, False),
        ("a100_40", "NVIDIA A100-SXM4-40GB", 40.0, True),
        ("a100_80", "NVIDIA A100-SXM4-40GB", 40.0, False),
        ("l4", "NVIDIA L40S", 44.99, False),
        ("t4", "Emulated t4", 15.0, True),
        ("rtx3090", "Emulated 24 GB", 24.0, False),
        ("auto", "NVIDIA GeForce RTX 3090", 24.0, True),
    ],
)
def test_a_card_is_known_by_name_and_size(
    card_file: str, name: str, gib: float, same: bool
) -> None:
    device = Device(0, "GPU-1", name, gib)
    budget = find_budget(compose_settings([f"vram={card_file}"]).vram, device)
    assert is_of(budget, device) is same


def test_the_columns_are_those_of_the_published_readings() -> None:
    assert ",".join(COLUMNS) == PUBLISHED.read_text().splitlines()[0]


def test_a_size_that_is_no_multiple_of_the_stride_is_shown_as_it_is_trained() -> None:
    odd = replace(SETUP, config=replace(SETUP.config, imgsz=100))
    assert (VARYING["imgsz"](SETUP), VARYING["imgsz"](odd)) == ("32", "100 (trained at 128)")
