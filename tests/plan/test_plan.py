"""python -m sweeper.plan: what it says, in which forms, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sweeper import predict_vram
from sweeper.config.compose import compose_settings
from sweeper.errors import SweeperError
from sweeper.memory.cards import find_budget
from sweeper.memory.predict.parallel import predict_specs
from sweeper.plan.__main__ import main
from sweeper.plan.predictions import largest_batch
from sweeper.study.specs import SpecBuilder
from tests.conftest import MachineMaker, link_traces

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> Path:
    """One runs_dir, so that each model is traced once."""
    return link_traces(tmp_path_factory.mktemp("runs"), traces)


def plan(runs: Path, capsys: Capture, *overrides: str) -> str:
    main([*overrides, f"runs_dir={runs}"])
    return capsys.readouterr().out


def plan_json(runs: Path, capsys: Capture, *overrides: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(plan(runs, capsys, *overrides, "plan.format=json"))
    return document


def run(
    *arguments: str, code: str | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    start = ["-m", "sweeper.plan"] if code is None else ["-c", code]
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_a_cell_is_what_predict_vram_says(runs: Path, capsys: Capture) -> None:
    asked = ("model=yolo11n", "vram=t4", "batch=4", "accumulate=2", "amp=true", "data.nc=20")
    (cell,) = plan_json(runs, capsys, *asked)["cells"]
    found = predict_vram(
        "yolo11n",
        batch=4,
        accumulate=2,
        amp=True,
        imgsz=640,
        nc=20,
        boxes_per_image=8,
        context_gib=0.2,  # conf/vram/t4.yaml
        limit_gib=14.55,
        cache_dir=runs / "cache" / "vram",
    )
    assert cell["peak_gib"] == pytest.approx(found.peak_gib, abs=1e-3)
    assert found.reserved_upper_gib < cell["peak_upper_gib"]  # whose boxes are assumed
    typed = plan_json(runs, capsys, *asked, "plan.boxes_per_image=8")["cells"][0]
    assert typed["peak_upper_gib"] == pytest.approx(found.peak_upper_gib, abs=1e-3)
    assert sum(cell["parts_gib"].values()) == pytest.approx(found.peak_gib, abs=0.01)
    assert (cell["budget_gib"], cell["nc"], cell["imgsz"]) == (14.55, 20, 640)


def test_without_a_sweep_the_plan_takes_the_studys_batches_and_amp(
    runs: Path, capsys: Capture
) -> None:
    cells = plan_json(runs, capsys, "vram=t4")["cells"]
    assert [(c["amp"], c["batch"], c["accumulate"]) for c in cells] == [
        (amp, batch, 16 // batch) for amp in (False, True) for batch in (2, 4, 8, 16)
    ]
    assert {(c["model"], c["nc"], c["imgsz"]) for c in cells} == {("yolo11n", 80, 640)}


def test_a_memory_strategy_takes_the_place_of_its_three_keys(runs: Path, capsys: Capture) -> None:
    cells = plan_json(runs, capsys, "memory=baseline,accumulate_amp", "vram=t4")["cells"]
    found = [(c["batch"], c["accumulate"], c["amp"]) for c in cells]
    assert found == [(16, 1, False), (4, 4, True)]


def test_the_largest_batch_fits_and_the_next_one_does_not(runs: Path, capsys: Capture) -> None:
    asked = ("batch=4", "amp=false", "vram=t4", "vram.budget_gib=3", "plan.effective_batch=64")
    (found,) = plan_json(runs, capsys, *asked)["largest"]
    batch, accumulate = found["largest_batch"], found["largest_accumulate"]
    assert accumulate == -(-64 // batch)
    below, above = plan_json(
        runs, capsys, *asked[1:], f"batch={batch},{batch + 1}", f"accumulate={accumulate}"
    )["cells"]
    assert below["verdict"] == "fits" and below["peak_upper_gib"] <= 3
    assert above["verdict"] == "tight" and above["peak_upper_gib"] > 3
    tight = found["tight_batch"]
    last, over = plan_json(runs, capsys, *asked[1:], f"batch={tight},{tight + 1}")["cells"]
    assert last["verdict"] == "tight" and last["peak_gib"] <= 3
    assert over["verdict"] == "no" and over["peak_gib"] > 3


def test_the_effective_batch_is_reached_exactly_whatever_the_largest_batch(
    runs: Path, capsys: Capture
) -> None:
    asked = ("batch=4", "amp=false", "vram=t4", "vram.budget_gib=4", "plan.effective_batch=16")
    asked = (*asked, "plan.boxes_per_image=4")
    (found,) = plan_json(runs, capsys, *asked)["largest"]
    assert found["largest_batch"] not in (1, 2, 4, 8, 16)
    assert (found["exact_batch"], found["exact_accumulate"]) == (8, 2)
    last = plan(runs, capsys, *asked).splitlines()[-1].split()
    assert last[2:4] == ["8", "2"] and last[-3:] == [
        str(found["largest_batch"]),
        f"{found['largest_upper_gib']:.2f}",
        str(found["tight_batch"]),
    ]


@pytest.mark.parametrize("limit", [0, 1, 7, 15, 16, 17, 31, 100])
def test_the_search_ends_at_the_limit(limit: int) -> None:
    assert largest_batch(lambda batch: batch - limit - 0.5, 16) == limit


@pytest.mark.parametrize("limit", [17, 53, 91, 1000])
def test_along_a_line_the_search_takes_a_few_steps(limit: int) -> None:
    asked: list[int] = []

    def excess(batch: int) -> float:
        asked.append(batch)
        return 3 + batch - limit - 3.5

    assert largest_batch(excess, 16) == limit and len(asked) <= 5


def test_what_a_smaller_batch_only_caches_does_not_make_it_tight(
    runs: Path, capsys: Capture
) -> None:
    """Up to half of the card validation adds to the cache; beyond, Ultralytics empties it."""
    asked = ("vram=rtx3090", "amp=false", "accumulate=1", "batch=43,46,47,53,54")
    document = plan_json(runs, capsys, *asked)
    cells, limit_gib = document["cells"], document["cells"][0]["budget_gib"]
    assert [cell["verdict"] for cell in cells] == ["fits"] * 4 + ["tight"]
    peaks = [cell["peak_gib"] for cell in cells]
    assert peaks[1] > peaks[2], "the cache of batch 46 is not emptied"
    assert cells[1]["peak_upper_gib"] == limit_gib > cells[2]["peak_upper_gib"]
    assert document["largest"][0]["largest_batch"] == 53


def test_the_effective_batch_of_the_study_selects_cells_and_is_the_one_to_reach(
    runs: Path, capsys: Capture
) -> None:
    document = plan_json(runs, capsys, "study.effective_batch=32", "amp=true", "vram=t4")
    assert document["effective_batch"] == 32
    assert [(c["batch"], c["accumulate"]) for c in document["cells"]] == [(8, 4), (16, 2)]


def test_cards_models_and_sizes_can_be_swept(runs: Path, capsys: Capture) -> None:
    text = plan(runs, capsys, "vram=rtx3090,t4", "data.imgsz=320,640", "batch=8", "amp=true")
    rows = [line.split() for line in text.splitlines() if line.startswith("yolo11n")]
    assert [row[1:3] for row in rows[:4]] == [
        ["rtx3090", "320"],
        ["rtx3090", "640"],
        ["t4", "320"],
        ["t4", "640"],
    ]
    assert "Budget 14.55 GiB" in text and "Budget 23.65 GiB" in text


def test_growing_segments_are_planned_for(runs: Path, capsys: Capture) -> None:
    asked = ("vram=t4", "batch=8", "amp=true", "memory.allocator=default,expandable")
    plain, expandable = plan_json(runs, capsys, *asked)["cells"]
    assert [c["allocator"] for c in (plain, expandable)] == ["default", "expandable"]
    assert expandable["peak_gib"] < plain["peak_gib"]
    assert "allocator" in plan(runs, capsys, *asked).splitlines()[6].split()


def test_what_memory_does_not_depend_on_makes_no_cells(runs: Path, capsys: Capture) -> None:
    cells = plan_json(runs, capsys, "seed=1,2", "batch=4", "amp=true", "vram=t4")["cells"]
    assert len(cells) == 1


def test_every_table_says_that_it_is_simulated(runs: Path, capsys: Capture) -> None:
    asked = ("batch=4,8", "amp=true", "vram=t4")
    for form in ("table", "markdown"):
        text = plan(runs, capsys, *asked, f"plan.format={form}")
        titles = [line for line in text.splitlines() if "hat fits" in line or "Largest" in line]
        assert len(titles) == 2 and all("simulated" in title for title in titles)
        assert "Boxes per image: 8, assumed" in text
    document = plan_json(runs, capsys, *asked)
    assert document["source"] == "simulated"
    assert document["boxes_per_image"] == 8
    rows = list(csv.DictReader(io.StringIO(plan(runs, capsys, *asked, "plan.format=csv"))))
    assert [row["vram_source"] for row in rows] == ["simulated", "simulated"]
    assert [float(r["peak_gib"]) for r in rows] == [c["peak_gib"] for c in document["cells"]]
    assert rows[0]["largest_batch"] == str(document["largest"][0]["largest_batch"])


def test_a_setup_in_which_nothing_fits_says_so(runs: Path, capsys: Capture) -> None:
    asked = ("batch=2", "amp=false", "vram=t4", "vram.budget_gib=0.4")
    text = plan(runs, capsys, *asked)
    assert "GiB over" in text and text.splitlines()[-1].split()[:3] == ["yolo11n", "off", "none"]
    assert plan_json(runs, capsys, *asked)["largest"][0]["largest_batch"] is None


def test_a_plan_for_an_emulated_card_is_the_one_that_is_made_on_it(
    runs: Path, capsys: Capture, card: MachineMaker
) -> None:
    asked = ("batch=4", "amp=true", "data.nc=20")
    there = plan(runs, capsys, *asked, "vram.emulated=true", "vram.fallback_card=t4")
    assert "Budget 14.25 GiB" in there and "this GPU Emulated t4, 15.00 GiB less 5%" in there
    assert "simulated without a GPU" in there and "nothing was measured" in there
    done = card(gib=15, name="t4").command("-m", "sweeper.plan", *asked, f"runs_dir={runs}")
    assert done.code == 0, done.err
    assert done.out == there


def test_crowded_images_are_planned_for(runs: Path, capsys: Capture) -> None:
    def peak(*more: str) -> float:
        asked = ("batch=16", "amp=true", "vram=t4", *more)
        return float(plan_json(runs, capsys, *asked)["cells"][0]["peak_gib"])

    assert peak("plan.boxes_per_image=60") > peak() + 0.3


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """The data.yaml of 20 small images, one with 72 boxes and the others with 32."""
    boxes = [f"0 0.5 0.5 0.2 {0.2 + i / 200}\n" for i in range(72)]  # of equals one counts
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (32, 32)).save(tmp_path / "images" / split / f"{i}.jpg")
            text = "".join(boxes[: 32 if i else 72])
            (tmp_path / "labels" / split / f"{i}.txt").write_text(text)
    file = tmp_path / "data.yaml"
    file.write_text("train: images/train\nval: images/val\nnames: [bolt]\n")
    return file


@pytest.mark.parametrize(("more", "boxes"), [((), 68), (("+data.augment.mosaic=0",), 34)])
def test_plan_and_study_predict_the_same_peak(
    runs: Path, capsys: Capture, crowded: Path, more: tuple[str, ...], boxes: float
) -> None:
    asked = ["data=custom", f"data.yaml={crowded}", "vram=t4", "accumulate=1", *more]
    asked += ["amp=true", "train.imgsz=320", "train.epochs=1", f"runs_dir={runs}"]
    batches = (1, 3, 8, 16)
    planned = plan_json(runs, capsys, *asked, f"batch={','.join(map(str, batches))}")["cells"]
    assert {(p["boxes_per_image"], p["boxes_source"]) for p in planned} == {(boxes, "labels")}
    settings = compose_settings(asked)
    builder = SpecBuilder("s", find_budget(settings.vram, None), threads=1)
    specs = [builder.build(replace(settings, batch=batch), "x") for batch in batches]
    specs = predict_specs(specs, runs / "cache" / "vram")
    for cell, spec in zip(planned, specs, strict=True):
        assert spec.predicted is not None and spec.predicted.peak_upper_gib is not None
        assert cell["peak_gib"] == round(spec.predicted.peak_gib, 3)
        assert cell["peak_upper_gib"] == round(spec.predicted.peak_upper_gib, 3)
        assert (cell["fullest_image"], cell["images"]) == (
            spec.fullest_image,
            spec.images,
        )
        assert (cell["nc"], cell["budget_gib"]) == (spec.nc, round(spec.limit_gib, 3))
    fullest = [spec.fullest_image or 0 for spec in specs]
    assert fullest == [72] * 4 if more else fullest[0] > fullest[-1] > 72


def test_what_ultralytics_says_stays_out_of_the_document(
    runs: Path, crowded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "new"))  # it says that it writes there
    asked = ("data=custom", f"data.yaml={crowded}", "vram=t4", "batch=2", "amp=true")
    more = ("train.imgsz=320", f"runs_dir={runs}", "plan.format=json")
    done = run(*asked, *more, cwd=tmp_path)  # in the checkout a plan may have left traces
    assert json.loads(done.stdout)["cells"] and not done.stderr


def test_crowded_labels_lower_what_is_predicted_to_fit(
    runs: Path, capsys: Capture, crowded: Path
) -> None:
    asked = ("data.nc=1", "train.imgsz=640", "vram=t4", "vram.budget_gib=4", "amp=true", "batch=2")

    def largest(*more: str) -> int:
        (found,) = plan_json(runs, capsys, *asked, *more)["largest"]
        return int(found["tight_batch"])  # its bound is narrower than without labels

    assert largest("data=custom", f"data.yaml={crowded}") < largest()


def test_a_number_typed_wins_over_the_labels(runs: Path, capsys: Capture, crowded: Path) -> None:
    asked = ("data=custom", f"data.yaml={crowded}", "vram=t4", "batch=2", "amp=true")
    asked = (*asked, "train.imgsz=320", "plan.boxes_per_image=5")
    assert (
        "Boxes per image: 5, as typed. Sized for the fullest of 1000 images, an assumed"
        in plan(runs, capsys, *asked)
    )


def test_swept_data_sets_have_a_column_of_boxes(
    runs: Path, capsys: Capture, crowded: Path
) -> None:
    asked = ("data=digits,custom", f"data.yaml={crowded}", "data.nc=null", "vram=t4", "batch=2")
    text = plan(runs, capsys, *asked, "amp=true", "train.imgsz=320")
    assert "boxes per image" in text.splitlines()[7]
    assert text.count("Boxes per image:") == 2
    document = plan_json(runs, capsys, *asked, "amp=true", "train.imgsz=320")
    assert document["boxes_per_image"] is None


def test_the_article_s_verdicts(runs: Path, capsys: Capture) -> None:
    asked = ("model=yolo11x", "vram=rtx3090", "amp=true,false", "batch=4,8,16")
    cells = plan_json(runs, capsys, *asked)["cells"]
    said = {(c["amp"], c["batch"]): c["verdict"] for c in cells}
    assert said.pop((False, 16)) == "no"
    assert len(said) == 5 and "no" not in said.values()
    typed = plan_json(runs, capsys, "plan.boxes_per_image=4", *asked)["cells"]
    assert [c["verdict"] for c in typed if c["batch"] == 8] == ["fits", "fits"]


def test_the_classes_are_read_from_ones_own_data_yaml(
    runs: Path, capsys: Capture, tmp_path: Path
) -> None:
    file = tmp_path / "data.yaml"
    file.write_text("train: nowhere\nval: nowhere\nnames: [cat, dog]\n")
    asked = ("data=custom", f"data.yaml={file}", "batch=2", "amp=true", "vram=t4")
    (cell,) = plan_json(runs, capsys, *asked)["cells"]
    assert (cell["nc"], cell["boxes_source"]) == (2, "assumed")  # its images are elsewhere
    with pytest.raises(SweeperError, match=r"data\.nc=3 but .* names 2 classes"):
        plan(runs, capsys, *asked, "data.nc=3")


def test_the_output_is_written_whole_beside_nothing_else(
    runs: Path, capsys: Capture, tmp_path: Path
) -> None:
    asked = ("batch=4", "amp=true", "vram=t4", "plan.format=markdown")
    target = tmp_path / "plan.md"
    assert plan(runs, capsys, *asked, f"plan.output={target}") == ""
    assert target.read_text() == plan(runs, capsys, *asked)
    assert list(tmp_path.iterdir()) == [target]


def test_the_plot_is_a_picture(runs: Path, capsys: Capture, tmp_path: Path) -> None:
    target = tmp_path / "plan.png"
    plan(runs, capsys, "batch=4,8", "amp=true,false", "vram=t4", f"plan.plot={target}")
    with Image.open(target) as image:
        image.load()
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert image.format == "PNG" and min(image.size) > 400
    assert colours is not None
    drawn = {colour for _, colour in colours}
    assert {(0x44, 0xAA, 0x99), (0, 0, 0), (255, 255, 255)} <= drawn  # activations, budget, paper
    assert list(tmp_path.iterdir()) == [target]


def test_the_title_of_a_plot_is_no_wider_than_the_plot(
    runs: Path, capsys: Capture, tmp_path: Path
) -> None:
    target = tmp_path / "plan.png"
    levers = "memory.checkpoint=all", "memory.freeze=10", "memory.val_batch=1"
    plan(runs, capsys, "batch=4", "amp=true", "vram=t4", *levers, f"plan.plot={target}")
    with Image.open(target) as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[:, [0, -1]] == 255).all()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["vram=rtx9999"], r"vram=rtx9999 is not in conf/vram\. Choose one of: a10, .*t4"),
        (["model=x.yaml"], r"model=x\.yaml is not in conf/model\. .*model\.file=x\.yaml"),
        (["vram=t4", "vram.budget_gib=-1"], r"vram\.budget_gib must be positive but got -1.*Set"),
        (["batch=0"], "batch must be at least 1 but got 0. Set batch=1 or more"),
        (["batch=2,0"], "batch must be at least 1 but got 0"),
        (["batch=2,many"], "batch=many is no whole number"),
        (["batch=many,2"], "batch=many is no whole number"),
        (["batchh=2"], r"batchh is an unknown key\. Did you mean batch\?"),
        (["study.n_trials=1,2"], r"study\.n_trials .* cannot be swept"),
        (["executor.slots=1,2"], r"executor\.slots .* cannot be swept"),
        (["plan.format=csv,json"], r"plan\.format .* cannot be swept"),
        (["plan.format=xml"], r"plan\.format must be one of table, markdown, json, csv but got"),
        (["plan.effective_batch=0"], r"plan\.effective_batch must be at least 1 but got 0"),
        (["plan.boxes_per_image=-1"], r"plan\.boxes_per_image must be at least 0 but got -1"),
        (["plan.plot=plan.jpg"], r"plan\.plot must end in \.png, \.svg, \.pdf but got plan\.jpg"),
        (["plan.output=no/such/x.md"], r"plan\.output=no/such/x\.md .* mkdir -p no/such"),
        (["data=custom"], r"data\.nc is not set\. Give .*data\.nc=80.*data\.yaml=PATH"),
        (["data=custom", "data.yaml=no.yaml"], r"data\.yaml=no\.yaml is neither a file nor"),
        (["model=custom"], r"model\.file is not set"),
    ],
)
def test_bad_input_is_named_as_typed(overrides: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SweeperError, match=says):
        main([*overrides, f"runs_dir={tmp_path}"])
    assert not any(tmp_path.iterdir())


def test_what_is_not_a_model_ends_with_one_message(tmp_path: Path) -> None:
    text, folder = tmp_path / "x.yaml", tmp_path / "folder"
    text.write_text("just text")
    folder.mkdir()
    before = sorted(tmp_path.iterdir())
    for file in (text, folder, tmp_path / "missing.pt"):
        done = run("model=custom", f"model.file={file}", f"plan.output={tmp_path}/plan.md")
        assert done.returncode == 1 and done.stdout == ""
        (message,) = done.stderr.splitlines()
        assert message.startswith(f"error: model.file={file} is n") and "Use" in message
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_that_cannot_be_written_leaves_nothing(
    runs: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    target = tmp_path / "plan.md"
    with pytest.raises(SweeperError, match=r"plan\.output=.* cannot be written: No space left"):
        plan(runs, capsys, "batch=4", "amp=true", "vram=t4", f"plan.output={target}")
    assert not any(tmp_path.iterdir())


def test_forty_cells_with_a_warm_cache_import_neither_torch_nor_mlflow(
    runs: Path, capsys: Capture
) -> None:
    asked = ["batch=range(1,21)", "amp=true,false", "vram=t4", f"runs_dir={runs}"]
    out = plan(runs, capsys, *asked)  # warm
    assert sum(line.startswith("yolo11n") for line in out.splitlines()) == 42
    code = (
        "import sys; from sweeper.plan.__main__ import main; main(sys.argv[1:]);"
        "print({'torch', 'mlflow'} & set(sys.modules), file=sys.stderr)"
    )
    done = run(*asked, code=code)
    assert done.stderr == "set()\n" and "yolo11n" in done.stdout


def test_help_names_the_keys() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "plan.output=FILE" in done.stdout and "vram=rtx3090,t4" in done.stdout
