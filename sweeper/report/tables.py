"""The tables of the report, from findings to rows of text."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.numbers import NOTHING, duration, gib, percent, points, score
from sweeper.report.cells import CellSummary
from sweeper.report.effects import effect, strategy_changes, summarise
from sweeper.report.findings import Findings
from sweeper.report.markdown import Table
from sweeper.trial.record import Outcome
from sweeper.trial.study_record import RecordedTrial

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
    """One row per cell: those that completed by mAP@0.5, then the others."""
    header = ["strategy", "batch", "accumulate", "amp", "peak GiB"]
    header += ["epochs", "mAP@0.5", "time"] if findings.in_parts else ["mAP@0.5", "time"]
    header += ["peak change", "mAP points", "time change"] if findings.reference else []
    others = [c for c in findings.cells if not c.fits]
    cells = [*findings.ranked, *others]
    rows = [_comparison_row(c, findings.reference, findings.in_parts) for c in cells]
    return Table(header, rows, left=("amp",))


def _comparison_row(cell: CellSummary, reference: CellSummary | None, in_parts: bool) -> list[str]:
    spec = cell.spec
    row = [cell.title, str(spec.batch), str(spec.accumulate), "on" if spec.amp else "off"]
    row += [gib(cell.peak_gib)]
    row += [cell.first.trained or NOTHING] if in_parts else []
    if cell.fits:
        row += [score(cell.map50, cell.map50_deviation), duration(cell.wall_time_s)]
    else:
        row += ["does not fit" if cell.infeasible else cell.state.replace("_", " "), NOTHING]
    if reference is None:
        return row
    if cell is reference:
        return [*row, "reference", NOTHING, NOTHING]
    seen = effect(reference, cell)
    return [
        *row,
        percent(seen.peak_percent),
        points(seen.map50_points),
        percent(seen.time_percent),
    ]


def every_trial(findings: Findings) -> Table:
    """One row per trial, in order."""
    header = ["trial", "cell", "seed", "outcome", "peak GiB"]
    header += ["epochs"] if findings.in_parts else []
    header += ["mAP@0.5", "time", "reason"]
    names = {t.number: c.name for c in findings.cells for t in c.trials}
    rows = [_trial_row(t, names[t.number], findings.in_parts) for t in findings.trials]
    return Table(header, rows, left=("cell", "outcome", "reason"))


def _trial_row(trial: RecordedTrial, name: str, in_parts: bool) -> list[str]:
    row = [str(trial.number), name, str(trial.spec.seed), trial.state.replace("_", " ")]
    row += [gib(trial.peak_gib)]
    row += [trial.trained or NOTHING] if in_parts else []
    row += [score(trial.map50), duration(trial.wall_time_s)]
    return [*row, reason_of(trial)]


def reason_of(trial: RecordedTrial) -> str:
    """Why the trial ended as it did, and what to trust less about it."""
    if trial.outcome is Outcome.COMPLETE:
        note = "complete, but without a mAP@0.5" if trial.map50 is None else ""
        return note or (
            f"repeats trial {trial.spec.confirms}" if trial.spec.confirms is not None else ""
        )
    return trial.reason


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
        return f"trial {trial.number}, {trial.state.replace('_', ' ')}: {trial.reason}"
    by = findings.by_number.get(trial.implied_by)
    does_not_fit = f", {by.spec.label}, does not fit" if by and by.infeasible else ""
    return (
        f"implied by trial {trial.implied_by}{does_not_fit}; "
        "more memory is needed here, so it was not run"
    )


def pareto(findings: Findings) -> Table:
    """The cells of the Pareto front."""
    header = ["cell", "mAP@0.5", "time", "peak GiB"]
    rows = [
        [c.name, score(c.map50, c.map50_deviation), duration(c.wall_time_s), gib(c.peak_gib)]
        for c in findings.front
    ]
    return Table(header, rows)


def change_effects(findings: Findings) -> Table:
    """One row per change of the memory strategy: median, lowest and highest over its pairs."""
    header = ["lever", "pairs", "peak memory", "mAP@0.5, points", "time"]
    rows = []
    for change in strategy_changes(findings.cells):
        effects = change.effects
        rows.append(
            [
                change.title,
                str(len(effects)),
                _span([e.peak_percent for e in effects], percent),
                _span([e.map50_points for e in effects], points),
                _span([e.time_percent for e in effects], percent),
            ]
        )
    return Table(header, rows)


def _span(values: list[float | None], show: Callable[[float], str]) -> str:
    """``-20 % (-25 % to -15 %)``."""
    found = summarise(values)
    if found is None:
        return NOTHING
    median, low, high = map(show, found)
    return median if low == high else f"{median} ({low} to {high})"


def split_peaks(findings: Findings) -> Table:
    """The peak in its parts, one row per distinct peak; those that fit first."""
    cells = cells_with_parts(findings)
    known = [p for p in part_names(cells) if any(_shown(c, p) for c in cells)]
    header = ["cell", *(PARTS.get(p, p) for p in known), "peak GiB"]
    rows = [
        [c.name, *(gib(c.first.parts.get(p, 0.0)) for p in known), gib(c.peak_gib)] for c in cells
    ]
    return Table(header, rows)


def cells_with_parts(findings: Findings) -> list[CellSummary]:
    """Cells whose peak is split up; where several have the same parts, one of them."""
    ordered = sorted([*findings.ranked, *findings.infeasible], key=_memory_order)
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


def _memory_order(cell: CellSummary) -> tuple[int, int, bool]:
    return cell.spec.batch, cell.spec.accumulate, not cell.spec.amp


def _shown(cell: CellSummary, part: str) -> bool:
    """Whether the part shows at two decimals."""
    return cell.first.parts.get(part, 0.0) >= 0.005
