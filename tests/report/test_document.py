import re
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.report.decision import longer_in_words
from sweeper.report.document import render
from sweeper.report.findings import Findings
from sweeper.report.html import to_html
from sweeper.report.publish import publish
from sweeper.trial.record import FINGERPRINT, Outcome
from sweeper.trial.spec import DatasetFacts
from sweeper.trial.study_record import StudyStatus
from tests.report.synthetic import ARTICLE, Row, recorded, write_study

GOLDEN = Path(__file__).parent / "golden"
CRASHED = "RuntimeError: no kernel image. See log.txt."
STUDIES: dict[str, dict] = {
    "article": {"rows": ARTICLE},
    "seeds": {
        "rows": [
            Row(4, 4, False, peak_gib=12.1, map50=(0.420,), wall_time_s=600.0),
            Row(4, 1, False, peak_gib=11.5, map50=(0.390,), wall_time_s=590.0),
            Row(2, 8, False, peak_gib=8.1, map50=(0.350,), wall_time_s=700.0),
            Row(4, 4, False, peak_gib=12.1, map50=(0.424,), wall_time_s=604.0, seed=1,
                confirms=0, overrides=("seed=1",)),
            Row(4, 1, False, peak_gib=11.5, map50=(0.394,), wall_time_s=596.0, seed=1,
                confirms=1, overrides=("seed=1",)),
            Row(4, 4, False, peak_gib=12.1, map50=(0.415,), wall_time_s=604.0, seed=2,
                confirms=0, overrides=("seed=1",)),
            Row(4, 1, False, peak_gib=11.5, map50=(0.401,), wall_time_s=596.0, seed=2,
                confirms=1, overrides=("seed=1",)),
        ],
    },
    "running": {
        "rows": [
            Row(4, 1, False, peak_gib=11.5, map50=(0.2, 0.3), wall_time_s=90.0),
            Row(4, 4, False, outcome=None, map50=(0.1,)),
        ],
        "done": None,
    },
    "empty": {"rows": [], "done": None},
    "infeasible": {
        "rows": [
            Row(2, 1, True, Outcome.OUT_OF_MEMORY, 25.2, reason="2.00 GiB asked for, none free",
                source="measured"),
            Row(4, 1, True, Outcome.IMPLIED, reason="b2×a1 amp does not fit either",
                implied_by=0, source="measured"),
            Row(1, 1, False, Outcome.OVER_BUDGET, 24.05, (0.1,), 60.0, source="measured",
                reason="peak 24.05 GiB, 0.40 GiB over the budget"),
        ],
    },
    "broken": {
        "rows": [
            Row(4, 1, False, Outcome.CRASHED, reason=CRASHED + "\n| and | more " + "x" * 300),
            Row(4, 2, False, Outcome.DIVERGED, 11.5, (0.1, 0.0), 50.0, reason="the loss is nan"),
            Row(4, 4, False, Outcome.COMPLETE),
            Row(2, 1, False, Outcome.INTERRUPTED, reason="the study was stopped"),
        ],
        "done": False,
        "space": None,
        "budget_source": "",
    },
    "parts": {
        "rows": [
            Row(2, 1, False, peak_gib=8.1, map50=(0.0, 0.2, 0.5, 0.62, 0.7, 0.76), epochs=20,
                epoch_s=9.0, wall_time_s=60.0, whole=False),
            Row(8, 1, False, peak_gib=18.2, map50=(0.0, 0.1, 0.44, 0.6, 0.69, 0.75), epochs=20,
                epoch_s=5.0, wall_time_s=35.0, whole=False),
            Row(4, 8, False, Outcome.PRUNED, 12.1, (0.0, 0.0, 0.02), 30.0, epochs=20, epoch_s=8.0,
                reason="stopped after 3 of 20 epochs: learning has not begun, 0.61 at best at the "
                "end, behind b2×a1 (0.90) by 29 ± 8 points", whole=False),
            Row(2, 4, False, peak_gib=8.2, map50=(0.0, 0.0, 0.1, 0.15, 0.21, 0.3), epochs=20,
                epoch_s=8.0, wall_time_s=55.0, whole=False),
            Row(16, 1, False, Outcome.OUT_OF_MEMORY, 31.4, reason="simulated: 7.75 GiB over the "
                "budget; not trained", epochs=20),
        ],
    },
    "all_crashed": {"rows": [Row(4, 1, False, Outcome.CRASHED, reason=CRASHED)]},
    "nothing_learnt": {"rows": [Row(4, 1, False, peak_gib=2.66, map50=(0.0, 0.0), wall_time_s=3)]},
}  # fmt: skip


def report(runs: Path, name: str) -> str:
    options = dict(STUDIES[name])
    write_study(runs, options.pop("rows"), name=name, **options)
    publish(compose_settings([f"runs_dir={runs}"]), name)
    text = (runs / name / "report.md").read_text()
    return re.sub(r"(?<=^- started: ).*", "2026-11-24 10:00 UTC", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", STUDIES)
def test_the_report_is_the_golden_one(name: str, tmp_path: Path) -> None:
    """To accept a change: delete the golden files, run twice, and read the difference."""
    text = report(tmp_path, name)
    golden = GOLDEN / f"{name}.md"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
        pytest.fail(f"{golden} was written anew; read it")
    assert text == golden.read_text()
    for image in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (tmp_path / name / image).read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_of_a_table_has_as_many_cells_as_its_header(name: str) -> None:
    text = (GOLDEN / f"{name}.md").read_text()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_measured_and_simulated_peaks_are_not_compared() -> None:
    rows = [
        Row(4, 1, False, peak_gib=10.0, map50=(0.4,), wall_time_s=9.0, source="measured"),
        Row(4, 1, True, peak_gib=8.0, map50=(0.4,), wall_time_s=9.0, source="simulated"),
    ]
    text = render(Findings(recorded(rows)), set())
    assert "Some peaks are measured and others simulated" in text
    assert "-20 %" not in text


def test_times_of_different_devices_are_not_compared_unsaid() -> None:
    rows = [
        Row(4, a, False, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0, source="measured")
        for a in (1, 2)
    ]
    study = recorded(rows)
    ran = [
        replace(t, result=replace(t.result, device=name))
        for t, name in zip(study.trials, ("NVIDIA L4", "NVIDIA T4"), strict=True)
    ]
    said = "The trials ran on NVIDIA L4 and NVIDIA T4: the time of one"
    assert said in render(Findings(replace(study, trials=tuple(ran))), set())
    assert "The trials ran on" not in render(Findings(study), set())


def test_cells_that_waited_for_a_core_are_named() -> None:
    study = recorded(
        [Row(4, a, False, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0) for a in (1, 2, 4)]
    )
    trials = tuple(
        replace(t, result=replace(t.result, cpu_wait=share))
        for t, share in zip(study.trials, (0.09, 0.34, 0.2), strict=True)
    )
    text = render(Findings(replace(study, trials=trials)), set())
    waited = "spent at least 20% of the time waiting for a core of the processor"
    assert f"The machine was busy: b4×a2, b4×a4 {waited}" in text
    assert "(no ratio of times: the machine was busy)" in text
    assert "was busy" not in render(Findings(study), set())
    assert "Times of a busy machine are left out." in text
    assert "by times that it takes when idle" in text
    lever = next(line for line in text.splitlines() if "accumulate more on the same batch" in line)
    assert lever.split("|")[-2].strip() == "–", "both pairs have a cell that waited"


def test_of_a_busy_machine_the_articles_times_are_not_told() -> None:
    study = recorded(ARTICLE)
    trials = tuple(
        replace(t, result=replace(t.result, cpu_wait=0.3)) if t.result else t for t in study.trials
    )
    text = render(Findings(replace(study, trials=trials)), set(), with_article=True)
    for claim in ("3 h 42 min instead of 3 h 38", "amp saves about 15 % of the time"):
        (row,) = (line for line in text.splitlines() if claim in line)
        assert row.endswith("| not known here: the machine was busy |")


def test_a_study_in_parts_that_learnt_nothing_has_the_command_of_whole_runs() -> None:
    study = recorded([Row(4, a, False, map50=(0.001,), wall_time_s=9.0) for a in (1, 2)])
    trials = tuple(
        replace(t, result=replace(t.result, paused=True, trained=1)) for t in study.trials
    )
    words = "study.name=x study.join=true study.rungs=[1] train.epochs=3 study.finish=true"
    asked = replace(study.study, command=f"python -m sweeper -m {words}")
    text = render(Findings(replace(study, study=asked, trials=trials)), set())
    command = "python -m sweeper -m study.keep_best=true study.name=article-longer"
    assert f"{command} 'study.rungs=[]' train.epochs=12\n" in text
    assert longer_in_words(Findings(replace(study, study=asked, trials=trials))) == (
        "trains longer, about 3 min 36 s in all"  # four times two runs of three epochs of 9 s
    )
    longer = [replace(t, spec=replace(t.spec, epochs=12)) for t in trials]
    ended = Findings(replace(study, study=asked, trials=tuple(longer)))
    to_its_end = "train.epochs=3 study.keep_best=true study.name=article-longer 'study.rungs=[]'\n"
    assert to_its_end in render(ended, set()), "the epochs as they were typed"
    assert longer_in_words(ended) == "trains each cell to its end, about 3 min 36 s in all"


def test_what_waits_at_a_rung_when_a_study_is_stopped_is_shown_as_it_stands() -> None:
    rows = [Row(4, a, False, peak_gib=2.0, map50=(0.1, 0.2), wall_time_s=9.0) for a in (1, 2)]
    study = recorded(rows)
    trials = tuple(
        replace(t, result=None, part=replace(t.result, paused=True, trained=2))
        for t in study.trials
        if t.result
    )
    stopped = replace(study.study, status=StudyStatus.KILLED)
    text = render(Findings(replace(study, study=stopped, trials=trials)), set())
    assert "trials done, 2 more wait at a rung. The same command continues it." in text
    assert "- Memory is simulated: " in text
    row = next(line for line in text.splitlines() if line.startswith("| 0 "))
    assert all(shown in row for shown in ("0.200", "waits at a rung", "2 of 3", "9.0 s"))
    assert text.count("| waits at a rung after 2 of 3 epochs, mAP@0.5 0.200 there |") == 2
    assert "waits at a rung" not in render(Findings(replace(study, trials=trials)), set())


def test_trials_of_another_state_of_the_data_are_named() -> None:
    study = recorded(
        [Row(4, a, False, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0) for a in (1, 2, 4)]
    )

    def text(*fingerprints: str, single: int | None = None) -> str:
        trials = tuple(
            replace(
                t,
                spec=replace(t.spec, train_args={"single_cls": t.number == single}),
                result=replace(t.result, settings={FINGERPRINT: found}),
            )
            for t, found in zip(study.trials, fingerprints, strict=True)
        )
        return render(Findings(replace(study, trials=trials)), set())

    said = "The data set changed while the study ran: b4×a2 trained on other labels"
    assert said in text("a", "b", "a")
    assert "data set changed" not in text("a", "b", "a", single=1), "other labels were asked for"
    assert "data set changed" not in text("a", "a", "a") + render(Findings(study), set())


def test_an_allocator_that_struggled_or_was_configured_is_said() -> None:
    rows = [
        Row(4, a, False, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0, source="measured")
        for a in (1, 2)
    ]
    study = recorded(rows)
    plain, edge = study.trials
    memory = replace(edge.result.memory, alloc_retries=3, alloc_conf="expandable_segments:True")
    edge = replace(edge, result=replace(edge.result, memory=memory))
    text = render(Findings(replace(study, trials=(plain, edge))), set())
    assert "At the edge of the budget: b4×a2. torch's allocator had to flush" in text
    assert "`PYTORCH_ALLOC_CONF=expandable_segments:True`" in text
    text = render(Findings(study), set())
    assert "At the edge" not in text and "PYTORCH_ALLOC_CONF" not in text


def test_a_cell_that_fits_only_by_its_prediction_is_called_tight() -> None:
    rows = [Row(4, a, False, peak_gib=20.0, map50=(0.4,), wall_time_s=9.0) for a in (1, 2)]
    study = recorded(rows)
    trials = []
    for trial, upper_gib in zip(study.trials, (23.65, 23.66), strict=True):
        memory = replace(trial.result.memory, peak_upper_gib=upper_gib)
        trials.append(replace(trial, result=replace(trial.result, memory=memory)))
    text = render(Findings(replace(study, trials=tuple(trials))), set())
    assert "Tight: b4×a2. The peak is predicted to keep to the budget" in text
    assert "Tight:" not in render(Findings(study), set())


def test_images_without_labels_are_said_in_the_page_too(tmp_path: Path) -> None:
    rows = [Row(4, a, False, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0) for a in (1, 2)]
    study = recorded(rows)
    facts = DatasetFacts("0123abcd", images=90, boxes=300, val_images=10, unlabelled=57)
    trials = [replace(t, spec=replace(t.spec, dataset=facts)) for t in study.trials]
    text = render(Findings(replace(study, trials=tuple(trials))), set())
    said = "Images of coco128 without a label file, which count as background: 57."
    assert text.count(said) == 1 and to_html(text, tmp_path).count(said) == 1
    labelled = replace(study.trials[0].spec, dataset=replace(facts, unlabelled=0))
    study = replace(study, trials=(replace(study.trials[0], spec=labelled), study.trials[1]))
    assert "without a label file" not in render(Findings(study), set())


def test_validation_images_that_are_trained_on_are_said_in_the_page(tmp_path: Path) -> None:
    study = recorded([Row(4, 1, False, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0)])
    facts = DatasetFacts("0123abcd", images=90, boxes=300, val_images=10, shared=10)
    (trial,) = study.trials
    trial = replace(trial, spec=replace(trial.spec, dataset=facts))
    said = "10 of 10 validation images of coco128 are trained on too"
    text = render(Findings(replace(study, trials=(trial,))), set())
    assert said in text and "python -m sweeper.doctor data=custom data.yaml=" in text
    assert said not in render(Findings(study), set())


def test_an_emulated_study_never_calls_itself_measured() -> None:
    rows = [
        Row(4, 1, amp, peak_gib=9.0, map50=(0.4,), wall_time_s=9.0, source="emulated")
        for amp in (False, True)
    ]
    text = render(Findings(recorded(rows)), set())
    assert "peaks are emulated" in text and "measured" not in text
    assert "Memory is emulated: torch's own allocator ran" in text
    assert "Trained on an emulated card" in text


def test_amp_that_was_refused_is_no_row_with_amp_on() -> None:
    why = "the check failed: it would have trained as b4×a1, without AMP"
    rows = [
        Row(4, 1, False, peak_gib=10.0, map50=(0.4,), wall_time_s=9.0, source="measured"),
        Row(4, 1, True, Outcome.AMP_REFUSED, wall_time_s=3.0, reason=why),
    ]
    text = render(Findings(recorded(rows)), set())
    listed = re.findall(r"^\|.*b4×a1 amp .*", text, re.MULTILINE)
    assert sum(" amp refused" in row for row in listed) == 2, "among the cells and the trials"
    assert why in listed[-1]
    assert "Of 2 trials: 1 failed; the reasons are below" in text
    assert "amp on instead of off" not in text


def test_only_a_study_of_the_article_or_one_who_asks_gets_its_claims() -> None:
    record = recorded(ARTICLE)
    other = Findings(replace(record, study=replace(record.study, fixed="study.name=mine")))
    assert "## The article's claims" in render(Findings(record), set())
    assert "## The article's claims" not in render(other, set())
    assert "## The article's claims" in render(other, set(), with_article=True)
