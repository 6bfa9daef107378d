"""The report of the check: without names of people or machines, and without paths."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.doctor.finding import Finding, failures
from sweeper.gpu_check.caps import Cap
from sweeper.gpu_check.cells import Trained
from sweeper.gpu_check.probes import SamplerCost, TorchFacts
from sweeper.memory.measure.nvml import Device
from sweeper.numbers import NOTHING, change, count, duration, gib, percent
from sweeper.report.markdown import Table, literal, render_table
from sweeper.trial.readings import MemoryReading
from sweeper.trial.record import Outcome, TrialResult

# Checks of the doctor whose text is about the card or the software; others name files.
SHOWN = ("gpu", "gpu memory", "torch", "torch kernels", "allocator", "host memory", "versions")
HIDDEN = "python -m sweeper.doctor says what"
# A card may be too small for a cell, or too old for its AMP.
FINE = {Outcome.COMPLETE, Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET, Outcome.AMP_REFUSED}
FOLDERS = re.compile(r"…?(?:/[\w.@+~-]+)+/")


@dataclass(frozen=True, slots=True)
class Check:
    """All that was found out.

    Attributes:
        device: The card.
        capability: Its CUDA compute capability.
        machine: Processor, memory and system.
        versions: Of the packages.
        findings: The doctor's.
        sampler: What the sampler costs.
        torch: What torch and Ultralytics say on it; a text says why they cannot use it.
        here: The cells on this card; none where torch cannot use it.
        caps: One cell under two budgets.
        emulated: The cells on an emulated card.
        no_emulated: Why there are none; empty when there are.
    """

    device: Device
    capability: str
    machine: str
    versions: str
    findings: Sequence[Finding]
    sampler: SamplerCost
    torch: TorchFacts | str
    here: Trained = field(default_factory=list)
    caps: Sequence[Cap] = ()
    emulated: Trained = field(default_factory=list)
    no_emulated: str = ""

    @property
    def faults(self) -> list[str]:
        """What must not be, in words; empty when all is well."""
        failed = failures(self.findings)
        found = [
            f"the doctor: {f.check}: {f.text if f.check in SHOWN else HIDDEN}" for f in failed
        ]
        bad = [(s, r) for s, r in self.here if r.outcome not in FINE]
        found += [f"{s.model} {s.label}: {r.outcome}: {r.reason}" for s, r in bad]
        found += [
            f"{c.label} under {gib(c.limit_gib)} GiB: {c.outcome}, peak {gib(c.peak_gib)} GiB"
            for c in self.caps
            if not c.held
        ]
        if isinstance(self.torch, str):
            found.append(f"nothing was trained: torch cannot use the card: {self.torch}")
        elif not self.caps:
            found.append("no cell trained, so that no budget was tried")
        if self.sampler.error:
            found.append(f"the sampler: {self.sampler.error}")
        return found


def render(check: Check) -> str:
    """The whole document."""
    device = check.device
    faults = [f"- {literal(fault)}" for fault in check.faults] or ["- nothing that must not be"]
    cuda = f"; torch for CUDA {check.torch.cuda}" if isinstance(check.torch, TorchFacts) else ""
    sections = [
        f"# GPU check: {device.name}, {gib(device.total_gib)} GiB, capability {check.capability}",
        f"Peaks on this card are *{device.source}*. {check.versions}{cuda}. {check.machine}.",
        "\n".join(["**Found**", "", *faults, *(f"- {line}" for line in _summary(check))]),
        _section("Cells", _cells(check), CELLS),
        _section("Budgets", _caps(check.caps), CAPS),
        _section("The doctor", _doctor(check.findings), ""),
    ]
    return _without_folders("\n\n".join(filter(None, sections))) + "\n"


def _without_folders(text: str) -> str:
    """Every path as ``…/`` and its last part; a home folder, which is a name, as ``…``."""
    home = Path.home()
    if home.name:
        text = text.replace(str(home), "…")
    return FOLDERS.sub("…/", text)


CELLS = (
    "Peaks of torch's allocator in GiB, one epoch of 32 digits at 640 px. *Predicted* needs no "
    "card, *emulated* is the same training on a card of host memory, without cuDNN's workspaces; "
    "*NVML* is the whole process, its context included."
)
CAPS = "The first budget is enough, the second is not: the cell must run out of memory within it."


def _summary(check: Check) -> list[str]:
    sampler, torch = check.sampler, check.torch
    rows = _rows(check)
    lines = [
        _agreement("predicted", [change(row.predicted, row.reserved) for row in rows]),
        _agreement("emulated", [change(row.emulated, row.reserved) for row in rows]),
        f"the sampler takes {100 * sampler.core:.2f} % of a core for {sampler.per_second:.0f} "
        f"readings a second, the longest gap is {1000 * sampler.longest_gap_s:.0f} ms",
        _amp(torch) if isinstance(torch, TorchFacts) else "",
    ]
    if check.no_emulated:
        lines.append(f"nothing was emulated: {check.no_emulated}")
    return [line for line in lines if line]


def _amp(torch: TorchFacts) -> str:
    """What Ultralytics' AMP check said, and whether it had anything to compare with."""
    if not torch.amp_passed:
        return "check_amp refused AMP"
    if torch.amp_weights == "missing":
        return (
            "AMP was not checked: the weights that check_amp compares with are not here and could "
            "not be fetched, so it lets AMP pass"
        )
    fetched = ", its weights fetched before" if torch.amp_weights == "fetched" else ""
    return f"check_amp takes {duration(torch.amp_check_s)}{fetched}: AMP passed"


def _agreement(word: str, errors: list[float | None]) -> str:
    """``emulated reserved memory is off by 0.3 % in the median of 12 cells, +6.4 % at worst``."""
    known = [error for error in errors if error is not None]
    if not known:
        return ""
    median, worst = statistics.median(map(abs, known)), max(known, key=abs)
    cells = count(len(known), "cell")
    return (
        f"{word} reserved memory is off by {median:.1f} % in the median of {cells}, "
        f"{worst:+.1f} % at worst"
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One cell: reserved memory by each of the three words, GiB."""

    cell: str
    predicted: float | None
    emulated: float | None
    memory: MemoryReading | None
    result: TrialResult

    @property
    def reserved(self) -> float | None:
        """Reserved on this card."""
        return _reserved(self.memory)


def _of_whole(result: TrialResult) -> MemoryReading | None:
    """The reading, where it is one of a whole training."""
    return result.memory if result.outcome is Outcome.COMPLETE else None


def _reserved(memory: MemoryReading | None) -> float | None:
    return memory.reserved_gib if memory else None


def _rows(check: Check) -> list[_Row]:
    emulated = {spec.number: _of_whole(result) for spec, result in check.emulated}
    return [
        _Row(
            cell=f"{spec.model} {spec.label}",
            predicted=spec.predicted.reserved_gib if spec.predicted else None,
            emulated=_reserved(emulated.get(spec.number)),
            memory=_of_whole(result),
            result=result,
        )
        for spec, result in check.here
    ]


def _cells(check: Check) -> Table:
    source = check.device.source
    return Table(
        [
            *("cell", "predicted", "emulated", source, "predicted off", "emulated off"),
            *("allocated", "context", "NVML", "retries", "time", "outcome"),
        ],
        [_cell(row) for row in _rows(check)],
    )


def _cell(row: _Row) -> list[str]:
    memory = row.memory
    return [
        row.cell,
        *(gib(value) for value in (row.predicted, row.emulated, row.reserved)),
        *(percent(change(value, row.reserved)) for value in (row.predicted, row.emulated)),
        *(_figures(memory) if memory else [NOTHING] * 4),
        duration(row.result.wall_time_s),
        row.result.outcome.value,
    ]


def _figures(memory: MemoryReading) -> list[str]:
    sizes = (memory.allocated_gib, memory.context_gib, memory.nvml_peak_gib)
    return [*map(gib, sizes), f"{memory.alloc_retries}"]


def _caps(caps: Sequence[Cap]) -> Table:
    rows = [
        [c.label, gib(c.limit_gib), c.expected.value, c.outcome.value, gib(c.peak_gib)]
        for c in caps
    ]
    return Table(["cell", "budget", "must", "does", "peak"], rows)


def _doctor(findings: Sequence[Finding]) -> Table:
    rows = [
        [f.check, f.level.value, f"{f.text} {f.remedy}".strip() if f.check in SHOWN else NOTHING]
        for f in findings
    ]
    return Table(["check", "level", "found"], rows, left=("level", "found"))


def _section(title: str, table: Table, text: str) -> str:
    """Heading, text and table; nothing where the table has no rows."""
    if not table.rows:
        return ""
    return "\n\n".join(filter(None, [f"## {title}", text, render_table(table)]))
