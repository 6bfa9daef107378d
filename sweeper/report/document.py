"""The report of a study, section by section."""

from __future__ import annotations

import time

from sweeper.numbers import limit
from sweeper.report import article, tables
from sweeper.report.answer import grounds, verdict
from sweeper.report.caveats import caveats
from sweeper.report.classes import classes, classes_source
from sweeper.report.decision import commands, decision
from sweeper.report.deployment import deployment, deployment_source
from sweeper.report.findings import Findings
from sweeper.report.markdown import Table, literal, render_table, verbatim
from sweeper.report.picks import left_out
from sweeper.report.use import use
from sweeper.trial.curves import BEGUN

# The plots, in the order of the report: file name and what it shows.
PLOTS = {
    "cells": "Every cell: mAP@0.5 at the end, and peak memory against the budget",
    "map50": "mAP@0.5 against time of the whole run, with the Pareto front of both",
    "curves": "Learning curves, and where and why trials stopped",
    "memory": "Peak memory against batch, with the budget",
    "parts": "Peak memory in its parts",
}


def render(findings: Findings, plots: set[str], with_article: bool = False) -> str:
    """The whole document.

    Args:
        findings: Of the study.
        plots: Names of `PLOTS` that lie beside it in ``report/``.
        with_article: Set the article's claims beside it, as for a study of its experiment.
    """
    winner = findings.winner
    exported = winner.first.deployment if winner else None
    weights = (winner.first.map50, winner.confirmed) if winner else (None, False)
    sections = [
        [f"# {title(findings)}", *_decision(findings), *_images(plots, "cells")],
        _asked(findings),
        _section("Comparison", tables.comparison(findings), _comparison_text(findings)),
        _images(plots, "curves"),
        _section(
            "Memory and changes",
            tables.memory(findings),
            _busy(findings, _reference(findings), BUSY_CHANGES),
        ),
        _not_fitting(findings, plots),
        [
            *_section(
                "Pareto front", tables.pareto(findings), _busy(findings, PARETO, BUSY_FRONT)
            ),
            *_images(plots, "map50"),
        ],
        _section(
            "What each lever is worth",
            tables.change_effects(findings),
            _busy(findings, CHANGES, BUSY_CHANGES),
        ),
        [
            *_section("Where the memory goes", tables.split_peaks(findings), _parts(findings)),
            *_images(plots, "parts"),
        ],
        _section("The winner, class by class", classes(findings), classes_source(findings)),
        use(findings),
        _section(
            "The winner's exports", deployment(exported), deployment_source(exported, *weights)
        ),
        _section("Every trial", tables.every_trial(findings)),
        _article(findings) if with_article or findings.study.is_articles else [],
        _caveats(findings),
    ]
    return "\n\n".join(text for section in sections for text in section if text) + "\n"


PARTS = "What was alive at the peak, GiB: gradients, for one, may be born only after it."
PARTS_IN_WORDS = {
    "ema": "The EMA copy is the averaged model that is validated.",
    "workspace": "The workspace is scratch memory of cuDNN and cuBLAS.",
    "cache": "The cache is what torch's allocator holds beyond all tensors.",
}
PARETO = (
    "Of the cells whose end is known or can be expected, no other is better in mAP@0.5, time of "
    "the whole run and memory at once. The line in the plot is the front of mAP@0.5 and time "
    "alone."
)
BUSY_FRONT = "The machine was busy: by times that it takes when idle other cells may be here."
BUSY_CHANGES = "Times of a busy machine are left out."
RATE = "Images/s are those of training in the median epoch."
RUN_TIME = (
    "The time of the whole run is that of the median epoch, times the epochs; what a run took "
    "from its start to its end, which is more, is under *Every trial*."
)
BEST_EPOCH = (
    "The mAP of a run is that of its best epoch by mAP@0.5:0.95, whose weights are those of "
    "`best.pt`, not that of its last."
)
WHOLE = (
    "In brackets: where the mean of many seeds lies 4 times of 5, estimated from how the curves "
    "wiggle; after ±: the standard deviation between the seeds that ran. "
    f"{BEST_EPOCH} {RUN_TIME} {RATE}"
)
FIRST_PART = (
    "Compare only what is expected *at the end* of the whole run, in brackets where it lies 4 "
    "times of 5: mAP@0.5 so far favours small effective batches, and cells that went on for "
    "longer. All curves together tell what to expect of each, so it moves when another cell is "
    "trained further; the reason of a cell that was stopped keeps what was expected then. Nothing "
    "can be expected before learning has begun, which is when "
    f"mAP@0.5 has been above {BEGUN} for two epochs. {BEST_EPOCH} {RUN_TIME} {RATE}"
)
AT_RUNG = (
    "The run that was finished is judged, here and in what follows, as it stood after {} epochs: "
    "the others might have ended as far from what was expected of them as it did. Its row has "
    "what it came to, in brackets where the mean of many seeds lies."
)
CHANGES = (
    "A lever is what one can change of a cell to save memory or time. Medians over the pairs of "
    "cells that completed and differ in nothing else, in brackets the lowest and the highest. Of "
    "one pair the points may be those of the seed."
)


def _decision(findings: Findings) -> list[str]:
    """The figures side by side, the verdict, how sure it is, and the commands to copy."""
    table = decision(findings)
    figures = [render_table(table)] if table.rows else []
    said = [say(findings) for say in (verdict, left_out, grounds, commands)]
    return [*figures, *said]


def title(findings: Findings) -> str:
    """``Study demo: yolo11n on digits within 23.7 GiB``."""
    name = f"Study {findings.study.name}"
    if findings.trials:
        model, data = (_values(findings, key) for key in ("model", "data"))
        name += f": {model} on {data}"
    return f"{literal(name)} within {limit(findings.limit_gib)} GiB"


def _asked(findings: Findings) -> list[str]:
    study = findings.study
    started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(study.started))
    facts = {
        "space": verbatim(study.space) if study.space else "",
        "budget": literal(_budget(findings)),
        "training": literal(_training(findings)),
        "started": started if study.started else "",
        "machine": literal(study.machine),
        "versions": literal(study.versions),
        "sweeper commit": literal(study.git_commit),
    }
    lines = [f"- {name}: {text}" for name, text in facts.items() if text]
    return ["## What was asked", "\n".join(lines)]


def _budget(findings: Findings) -> str:
    source = findings.study.budget_source
    origin = f", from {source}" if source else ""
    how = f"; peaks are {' and '.join(findings.sources)}" if findings.sources else ""
    return f"{limit(findings.limit_gib)} GiB of device memory{origin}{how}"


def _training(findings: Findings) -> str:
    """Each parameter with the values that occur."""
    names = ("model", "data", "imgsz", "epochs", "optimizer", "lr0", "seed")
    values = {name: _values(findings, name) for name in names}
    return ", ".join(f"{name} {text}" for name, text in values.items() if text)


def _values(findings: Findings, name: str) -> str:
    """``yolo11n/yolo11s``: what the trials have for a field or an Ultralytics argument."""
    specs = (t.spec for t in findings.trials)
    values = (getattr(spec, name, spec.train_args.get(name)) for spec in specs)
    return "/".join(dict.fromkeys(str(v) for v in values if v is not None))


def _section(heading: str, table: Table, text: str = "") -> list[str]:
    """Heading, text and table; nothing where the table has no rows."""
    return [f"## {heading}", text, render_table(table)] if table.rows else []


def _busy(findings: Findings, text: str, caution: str) -> str:
    """The text, with a caution where times are those of a busy machine."""
    return f"{text} {caution}" if text and findings.busy else text


def _parts(findings: Findings) -> str:
    """What the columns of the parts mean that nobody need know."""
    shown = tables.parts_shown(tables.cells_with_parts(findings))
    return " ".join([PARTS, *(text for part, text in PARTS_IN_WORDS.items() if part in shown)])


def _images(plots: set[str], name: str) -> list[str]:
    return [f"![{PLOTS[name]}](report/{name}.png)"] if name in plots else []


def _comparison_text(findings: Findings) -> str:
    if not findings.ranked:
        return ""
    if not findings.in_parts:
        return WHOLE
    return f"{FIRST_PART} {AT_RUNG.format(findings.rung)}" if findings.rung else FIRST_PART


def _reference(findings: Findings) -> str:
    reference, baseline = findings.reference, findings.baseline
    if reference is None:
        return ""
    text = (
        f"The last three columns are changes of the whole run against {literal(reference.title)}"
    )
    if baseline is not None and baseline is not reference:
        state = "does not fit" if baseline.infeasible else f"is {baseline.state}"
        return f"{text}: the baseline, {literal(baseline.name)}, {state}."
    if baseline is None:
        return f"{text}, the largest batch that was trained without accumulate and amp."
    return f"{text}."


def _not_fitting(findings: Findings, plots: set[str]) -> list[str]:
    images = _images(plots, "memory")
    if findings.infeasible:
        return [*_section("What does not fit, and why", tables.not_fitting(findings)), *images]
    if not findings.ranked:
        return []
    return ["## What does not fit, and why", "Every cell that was tried fits.", *images]


def _article(findings: Findings) -> list[str]:
    claims = article.claims(findings)
    where = (
        f"{article.ARTICLE}; the right column is this study, with its model, data and budget. "
        f"Peaks here are {' and '.join(findings.sources) or 'not known'}."
    )
    return _section("The article's claims", claims, where) if claims else []


def _caveats(findings: Findings) -> list[str]:
    lines = [f"- {text}" for text in caveats(findings)]
    return ["## What to keep in mind", "\n".join(lines)] if lines else []
