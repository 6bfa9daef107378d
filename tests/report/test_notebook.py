import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sweeper import load_study, plots
from sweeper.errors import StudyError
from tests.report.synthetic import Row, write_study

ROOT = Path(__file__).parents[2]
DTYPES = {
    "trial": "Int64",
    "cell": "string",
    "batch": "Int64",
    "amp": "boolean",
    "map50": "Float64",
    "peak_gib": "Float64",
    "wall_time_s": "Float64",
    "optimizer_steps": "Int64",
    "implied_by": "Int64",
    "outcome": "string",
}


def test_trials_are_typed_and_missing_numbers_are_na(published: Path) -> None:
    study = load_study("article", runs_dir=str(published))
    trials = study.trials
    assert {k: str(trials.dtypes[k]) for k in DTYPES} == DTYPES
    assert list(trials["trial"]) == [0, 1, 2, 3, 4, 5, 6]
    assert trials.loc[3, "map50"] == 0.423 and trials.loc[3, "part_weights_gib"] == 0.22
    assert trials.loc[0, "map50"] is pd.NA and trials.loc[6, "implied_by"] == 0
    assert study.best is not None and study.best["cell"] == "b4×a4 amp"


def test_each_trial_has_what_its_cell_comes_to_at_the_end(published: Path) -> None:
    trials = load_study("article", runs_dir=str(published)).trials.set_index("trial")
    ends = trials.loc[3, ["end_low", "end_map50", "end_high"]]
    assert list(ends) == sorted(ends) and ends["end_map50"] == pytest.approx(0.423)
    assert trials.loc[3, "whole_run_s"] == 13320.0
    assert trials.loc[0, "end_map50"] is pd.NA


def test_a_notebook_shows_the_answer_and_the_comparison(published: Path) -> None:
    shown = load_study("article", runs_dir=str(published))._repr_html_()
    assert shown.index("Use batch 4 × accumulate 4, amp on") < shown.index("<table>")
    assert shown.count("<tr>") == 1 + 7


def test_what_a_notebook_shows_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|![x](http://x/y.png)"
    rows = [Row(4, 1, False, map50=(0.5,), wall_time_s=5.0, strategy=evil)]
    write_study(tmp_path, rows, machine=evil)
    shown = load_study(runs_dir=str(tmp_path))._repr_html_()
    assert "<script" not in shown and "<img" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|" in shown


def test_a_notebook_shows_the_first_cells_of_many(tmp_path: Path) -> None:
    rows = [Row(b, 1, False, map50=(0.5,), wall_time_s=5.0) for b in range(1, 31)]
    write_study(tmp_path, rows)
    shown = load_study(runs_dir=str(tmp_path))._repr_html_()
    assert shown.count("<tr>") == 1 + 20 and "The first 20 of 30 cells" in shown


def test_curves_have_a_row_per_trial_and_epoch(published: Path) -> None:
    curves = load_study(runs_dir=str(published)).curves
    assert list(curves.columns) == [
        *("trial", "cell", "epoch", "map50", "map50_95", "train_loss", "val_loss")
    ]
    assert len(curves) == 4 * 3
    assert list(curves[curves["trial"] == 3]["map50"]) == [0.08, 0.31, 0.423]
    assert str(curves.dtypes["epoch"]) == "Int64"


def test_an_empty_study_has_the_same_columns(tmp_path: Path) -> None:
    write_study(tmp_path, [], done=None)
    study = load_study(runs_dir=str(tmp_path))
    assert {k: str(study.trials.dtypes[k]) for k in DTYPES} == DTYPES
    assert len(study.trials) == len(study.curves) == 0
    assert study.best is None


def test_an_unknown_study_says_what_to_do(published: Path) -> None:
    with pytest.raises(StudyError, match=r"study\.name=nothing is not in"):
        load_study("nothing", runs_dir=str(published))


def test_every_plot_draws_full_and_empty_studies(tmp_path: Path) -> None:
    rows = [
        Row(4, 1, amp, peak_gib=2.0, map50=(0.0,), wall_time_s=5.0, overrides=(f"train.lr0={lr}",))
        for amp in (False, True, "bf16")
        for lr in range(9)
    ]
    write_study(tmp_path / "full", rows)
    write_study(tmp_path / "empty", [], done=None)
    for folder in ("full", "empty"):
        findings = load_study(runs_dir=str(tmp_path / folder)).findings
        for draw in (
            *(plots.cell_map, plots.learning_curves, plots.memory_by_batch),
            *(plots.map50_by_time, plots.peak_parts),
        ):
            assert draw(findings).png().startswith(b"\x89PNG\r\n")


def test_equal_studies_give_equal_plots(article) -> None:
    assert plots.memory_by_batch(article).png() == plots.memory_by_batch(article).png()


def test_the_documentation_runs(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published)
    (published / "runs").symlink_to(published)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/jupyter.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)


def test_importing_sweeper_costs_nothing() -> None:
    code = "import sys, sweeper; print([m for m in ('mlflow', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_map_of_a_large_space_shows_what_lies_next_to_the_recommended_cell(
    tmp_path: Path,
) -> None:
    rows = [Row(b, 1, False, map50=(b / 100,), wall_time_s=5.0) for b in range(1, 41)]
    write_study(tmp_path, rows)
    study = load_study(runs_dir=str(tmp_path))
    assert study.best is not None
    chart = plots.cell_map(study.findings)
    shown = [int(label.get_text()) for label in chart.axes[0].get_xticklabels()]
    assert len(shown) == 12 and study.best["batch"] in shown
    assert "12 of 40 cells are shown" in chart.get_suptitle()
