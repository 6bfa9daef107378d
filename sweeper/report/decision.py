"""The decision at a glance: the cells one may take side by side, with what each comes to."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable

from sweeper.numbers import NOTHING, count, duration, gib, score
from sweeper.report.cells import CellSummary
from sweeper.report.findings import Findings
from sweeper.report.markdown import Table, bold, code, literal, verbatim
from sweeper.report.picks import best_in
from sweeper.report.words import headroom_in_words
from sweeper.trial.command import tool_command
from sweeper.trial.study_record import RecordedTrial

LONGER_BY = 4  # times the epochs of runs that taught nothing
WORTH_ENDING = 10  # epochs of a run that may teach something in the end
COMMANDS = "To train the whole run, and keep the weights of its best epoch:"
FINISHED = (
    "The whole run of {} was finished here; its best weights are in {}. To repeat it, or to train "
    "that of another cell, and keep the weights of its best epoch:"
)


def decision(findings: Findings) -> Table:
    """A column for each cell that is the recommended one or the best in something."""
    columns = _columns(findings)
    rows = [
        [name, *(value(cell, findings) or NOTHING for cell in columns.values())]
        for name, value in _ROWS.items()
    ]
    return Table(["", *columns], rows if columns else [], left=tuple(columns))


def commands(findings: Findings) -> str:
    """What trains the whole run of each of them, to copy; empty before the study has ended."""
    if not findings.ended:
        return ""
    lines = []
    for title, cell in _columns(findings).items():
        on = finishing(findings) if cell is findings.recommended else ""
        goes_on = f", goes on after {cell.trained} epochs" if on else ""
        if command := on or _run_again(cell, findings):
            lines.append(f"# {title}: {cell.name}{goes_on}\n{command}")
    return f"{_introduction(findings)}\n\n{code(chr(10).join(lines))}" if lines else ""


def finishing(findings: Findings) -> str:
    """The command that goes on with the recommended cell to the end of its run.

    Empty where there is none, where it has come to its end, or the command is not known.
    """
    best, command = findings.recommended, findings.study.command or ""
    if best is None or not best.can_go_on or "study.finish=" in command:
        return ""
    return f"{command} study.finish=true" if command and findings.ended else ""


def training_longer(findings: Findings) -> str:
    """The command of a study that trains cells longer which detect nothing yet.

    Empty before the study has ended, where there is a cell to take, or its command is not known.
    """
    winner = findings.winner if findings.ended and findings.recommended is None else None
    if winner is None or not findings.study.command:
        return ""
    longer = ["study.rungs=[]"]
    if (times := _longer_by(winner)) > 1:
        epochs = sorted({times * c.spec.epochs for c in findings.cells})
        longer.append(f"train.epochs={','.join(map(str, epochs))}")
    replaced = ("study.name=", "study.join=", *(f"{word.partition('=')[0]}=" for word in longer))
    words = shlex.split(findings.study.command)
    words = [word for word in words if not word.lstrip("+").startswith(replaced)]
    keeping = {"study.finish=true": "study.keep_best=true"}  # what ends is not finished again
    words = [keeping.get(word, word) for word in words]
    return shlex.join([*words, f"study.name={findings.study.name}-longer", *longer])


def longer_in_words(findings: Findings) -> str:
    """What `training_longer` does, and how long it takes by the epochs that were trained."""
    whole = [c.whole_s for c in findings.cells if c.compared and c.whole_s]
    if findings.winner is None or not whole:
        return "trains longer"
    times = _longer_by(findings.winner)
    time = duration(times * math.fsum(whole))
    return f"trains {'longer' if times > 1 else 'each cell to its end'}, about {time} in all"


def _longer_by(winner: CellSummary) -> int:
    """How many times the epochs are to be trained; the whole run first, where it has some."""
    return 1 if winner.paused and winner.spec.epochs >= WORTH_ENDING else LONGER_BY


def best_pt(trial: RecordedTrial) -> str:
    """Where the weights of a finished trial's best epoch lie, from the study's folder."""
    return verbatim(f"trials/{trial.number:04d}/weights/best.pt")


def _introduction(findings: Findings) -> str:
    """What the commands are for, and what need not be trained again."""
    winner = findings.recommended
    if winner is None or winner.finished is None:
        return COMMANDS
    return FINISHED.format(literal(winner.name), best_pt(winner.finished))


def _run_again(cell: CellSummary, findings: Findings) -> str:
    """The command of a study of one cell to its end; empty where its overrides are not known."""
    cells = [o for o in cell.spec.overrides if not o.startswith("study.")]
    slug = re.sub(r"[^a-z0-9]+", "-", cell.name.replace("×", "").lower())
    named = [f"study.name={findings.study.name}-{slug}", "study.finish=true"]
    return tool_command("sweeper", "-m", *named, *cells) if cells else ""


def _columns(findings: Findings) -> dict[str, CellSummary]:
    """The cells by what they are: ``recommended, least memory``."""
    recommended = findings.recommended
    if recommended is None:
        return {}
    first = "recommended" if findings.ended else "leads so far"
    titles: dict[CellSummary, list[str]] = {recommended: [first]}
    for title, cell in best_in(findings).items():
        titles.setdefault(cell, []).append(title)
    return {", ".join(found): cell for cell, found in titles.items()}


def _end(cell: CellSummary, findings: Findings) -> str:
    expected = ", expected" if cell.paused else ""
    return f"{score(findings.end(cell))}{expected}"


def _interval(cell: CellSummary, findings: Findings) -> str:
    known = findings.ends.get(cell.name)
    return f"{score(known.low)} to {score(known.high)}" if known else ""


def _seeds(cell: CellSummary, findings: Findings) -> str:
    return count(len(cell.compared), "fresh seed" if cell.confirmed else "seed")


def _peak(cell: CellSummary, findings: Findings) -> str:
    known = cell.peak_gib is not None
    return f"{gib(cell.peak_gib)} GiB, {cell.first.vram_source}" if known else ""


def _rate(cell: CellSummary, findings: Findings) -> str:
    return "" if cell.images_per_s is None else f"{cell.images_per_s:.0f}"


_ROWS: dict[str, Callable[[CellSummary, Findings], str]] = {
    "cell": lambda cell, findings: bold(cell.name),
    "mAP@0.5 at the end": _end,
    "interval, 4 times of 5": _interval,
    "mAP@0.5:0.95 as trained": lambda cell, findings: score(cell.map50_95),
    "trained epochs": lambda cell, findings: cell.trained,
    "seeds": _seeds,
    "whole run": lambda cell, findings: duration(cell.whole_s),
    "images/s": _rate,
    "peak": _peak,
    "left under the budget": headroom_in_words,
}
