"""The tables of the report, from findings to rows of text."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.numbers import NOTHING, duration, gib, percent, points, score
from sweeper.report.cells import CellSummary
from sweeper.report.effects import effect, strategy_changes, summarise
from sweeper.report.findings import Findings
from sweeper.report.markdown import Table
from sweeper.report.words import end_in_words, headroom_in_words, reason_of, verdict
from sweeper.trial.levers import places
from sweeper.trial.repeats import trial_in_words
from sweeper.trial.spec import AMP_WORDS, AMPS
from sweeper.trial.study_record import WAITS, RecordedTrial, StudyStatus

# In the order in which they are stacked; the names are those of MemoryReading.parts.
PARTS = {
    "context": "CUDA context",
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "ema": "EMA copy",
    "activations": "activations",
    "loss": "loss",
    "input": "input",
    "workspace": "workspace",
    "cache": "cache",
}


def comparison(findings: Findings) -> Table:
    """One row per cell: quality and time. Those that can be recommended first, the best first."""
    header = ["strategy"]
    header += ["mAP@0.5 at the end", "so far"] if findings.in_parts else ["mAP@0.5"]
    header += ["epochs", "whole run", "images/s", "batch", "accumulate", "amp", "verdict"]
    rows = [_comparison_row(c, findings) for c in in_order(findings)]
    return Table(header, rows, left=("amp", "verdict"))


def in_order(findings: Findings) -> list[CellSummary]:
    """Those that can be recommended, those that were stopped at a rung, the others."""
    others = [c for c in findings.cells if not c.fits]
    return [*findings.ranked, *sorted(others, key=lambda c: not c.compared)]


def _comparison_row(cell: CellSummary, findings: Findings) -> list[str]:
    spec = cell.spec
    row = [cell.title, end_in_words(cell, findings)]
    row += [score(cell.map50)] if findings.in_parts else []
    rate = NOTHING if cell.images_per_s is None else f"{cell.images_per_s:.0f}"
    row += [cell.trained or NOTHING, duration(cell.whole_s), rate]
    row += [str(spec.batch), str(spec.accumulate), AMP_WORDS[spec.amp]]
    return [*row, verdict(cell, findings)]


def memory(findings: Findings) -> Table:
    """One row per cell: its peak, what the budget leaves, and the changes against a reference."""
    header = ["cell", "peak GiB", "left under the budget"]
    header += ["peak change", "mAP points", "time change"] if findings.reference else []
    return Table(header, [_memory_row(c, findings) for c in in_order(findings)])


def _memory_row(cell: CellSummary, findings: Findings) -> list[str]:
    row = [cell.name, gib(cell.peak_gib), headroom_in_words(cell, findings)]
    if findings.reference is None:
        return row
    if cell is findings.reference:
        return [*row, "reference", NOTHING, NOTHING]
    seen = effect(findings.reference, cell, findings.comparable_end)
    changes = percent(seen.peak_percent), points(seen.map50_points), percent(seen.time_percent)
    return [*row, *changes]


def every_trial(findings: Findings) -> Table:
    """One row per trial, in order."""
    header = [
        "trial",
        "cell",
        "mAP@0.5",
        "outcome",
        "peak GiB",
        "epochs",
        "seed",
        "time",
        "reason",
    ]
    cells = {t.number: c for c in findings.cells for t in c.trials}
    rows = [_trial_row(t, cells[t.number], findings) for t in findings.trials]
    return Table(header, rows, left=("cell", "outcome", "reason"))


def _trial_row(trial: RecordedTrial, cell: CellSummary, findings: Findings) -> list[str]:
    seen = trial.at_rung
    ending = trial.result.ending if trial.result else trial.state
    if trial.waits and findings.study.status is StudyStatus.KILLED:
        ending = WAITS
    row = [trial_in_words(trial.spec, noun=""), cell.name, score(seen.map50)]
    row += [ending.replace("_", " "), gib(seen.peak_gib), seen.trained or NOTHING]
    row += [str(trial.spec.seed), duration(seen.wall_time_s)]
    return [*row, reason_of(trial, cell, findings)]


def not_fitting(findings: Findings) -> Table:
    """One row per cell that does not fit, with the evidence."""
    header = ["cell", "peak GiB", "over budget by", "how it is known"]
    rows = [_not_fitting_row(c, findings) for c in findings.infeasible]
    return Table(header, rows, left=("how it is known",))


def _not_fitting_row(cell: CellSummary, findings: Findings) -> list[str]:
    peak = cell.peak_gib
    excess = peak - findings.limit_gib if peak is not None else None
    over = f"{gib(excess)} GiB" if excess is not None and excess > 0 else NOTHING
    return [cell.name, gib(peak), over, _evidence(cell.first, findings)]


def _evidence(trial: RecordedTrial, findings: Findings) -> str:
    if trial.implied_by is None:
        return f"{trial_in_words(trial.spec)}, {trial.state.replace('_', ' ')}: {trial.reason}"
    by = findings.by_number.get(trial.implied_by)
    does_not_fit = f", {by.spec.label}, does not fit" if by and by.infeasible else ""
    return (
        f"implied by trial {trial.implied_by}{does_not_fit}; "
        "more memory is needed here, so it was not run"
    )


def pareto(findings: Findings) -> Table:
    """The cells of the Pareto front."""
    header = ["cell", "epochs", _end_header(findings), "whole run", "peak GiB"]
    rows = [
        [
            c.name,
            c.trained,
            end_in_words(c, findings),
            duration(c.whole_s),
            gib(c.peak_gib),
        ]
        for c in findings.front
    ]
    return Table(header, rows)


def _end_header(findings: Findings) -> str:
    return "mAP@0.5 at the end" if findings.in_parts else "mAP@0.5"


def change_effects(findings: Findings) -> Table:
    """One row per change of the memory strategy: median, lowest and highest of complete pairs."""
    end = " at the end" if findings.in_parts else ""
    header = ["lever", "pairs", "peak memory", f"mAP@0.5{end}, points", "time"]
    rows = [
        [
            change.title,
            str(len(effects)),
            _span([e.peak_percent for e in effects], percent),
            _span([e.map50_points for e in effects], points),
            _span([e.time_percent for e in effects], percent),
        ]
        for change in strategy_changes(findings.cells)
        if (effects := change.effects(findings.comparable_end))
    ]
    return Table(header, rows)


def _span(values: list[float | None], show: Callable[[float], str]) -> str:
    """``-20 % (-25 % to -15 %)``."""
    found = summarise(values)
    if found is None:
        return NOTHING
    median, low, high = map(show, found)
    return median if low == high else f"{median} ({low} to {high})"


def split_peaks(findings: Findings) -> Table:
    """The peak in its parts, one row per distinct peak."""
    cells = cells_with_parts(findings)
    known = parts_shown(cells)
    header = ["cell", *(PARTS.get(p, p) for p in known), "peak GiB"]
    rows = [
        [c.name, *(gib(c.first.parts.get(p, 0.0)) for p in known), gib(c.peak_gib)] for c in cells
    ]
    return Table(header, rows)


def parts_shown(cells: list[CellSummary]) -> list[str]:
    """The parts that are not 0 in all of the cells, to two decimals."""
    return [p for p in part_names(cells) if any(_shown(c, p) for c in cells)]


def cells_with_parts(findings: Findings) -> list[CellSummary]:
    """Cells whose peak is split up; where several have the same parts, one of them."""
    known = [c for c in findings.cells if c.compared or c.infeasible]
    ordered = sorted(known, key=_memory_order)
    distinct: dict[tuple[object, ...], CellSummary] = {}
    for cell in ordered:
        if parts := cell.first.parts:
            key = tuple((k, round(v, 3)) for k, v in sorted(parts.items()))
            distinct.setdefault(key, cell)
    return list(distinct.values())


def part_names(cells: list[CellSummary]) -> list[str]:
    """The parts that occur, in the order of `PARTS`; unknown ones last."""
    found = dict.fromkeys(k for c in cells for k in c.first.parts)
    return [*(p for p in PARTS if p in found), *(p for p in found if p not in PARTS)]


def _memory_order(cell: CellSummary) -> tuple[int, int, int, list[int]]:
    spec = cell.spec
    return spec.batch, spec.accumulate, -AMPS.index(spec.amp), [-place for place in places(spec)]


def _shown(cell: CellSummary, part: str) -> bool:
    """Whether the part shows at two decimals."""
    return cell.first.parts.get(part, 0.0) >= 0.005
