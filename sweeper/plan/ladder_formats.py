"""A ladder as text: a table for people, one document or one row per rung for programs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable
from typing import Any

from sweeper.memory.verdict import Verdict
from sweeper.plan.facets import VARYING, columns
from sweeper.plan.files import csv_text
from sweeper.plan.formats import (
    PEAK,
    aligned,
    figures,
    head_of,
    names,
    record,
    rounded,
    verdict_in_words,
)
from sweeper.plan.ladder import frame
from sweeper.plan.preamble import BOUND, preamble
from sweeper.plan.predictions import Plan, PlanCell
from sweeper.trial.levers import LEVERS, pulled
from sweeper.trial.readings import SIMULATED

UNKNOWN = "unknown"
ORDER = (
    "Time: unknown, as nothing was measured. The rungs stand in the order of what is known of "
    "their levers: amp takes less time or as much, expandable segments and accumulation as much; "
    "checkpoint=backbone computes a part of the forward twice, checkpoint=all the whole."
)


def render_ladder(ladder: Plan, form: str) -> str:
    """The ladder as ``table``, ``markdown``, ``json`` or ``csv``."""
    return {"table": _table, "markdown": _markdown, "json": _json, "csv": _csv}[form](ladder)


def _table(ladder: Plan) -> str:
    lines = [*preamble(ladder, None), "", _title(ladder), *aligned(_rows(ladder))]
    return "\n".join([*lines, *_answers(ladder), ORDER]) + "\n"


def _markdown(ladder: Plan) -> str:
    head, *body = _rows(ladder)
    table = "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])
    parts = ["# Memory plan", *preamble(ladder, None), f"## {_title(ladder)}", table]
    return "\n\n".join([*parts, *_answers(ladder), ORDER]) + "\n"


def _json(ladder: Plan) -> str:
    rungs = [{**r, "parts_gib": rounded(c.parts)} for r, c in _records(ladder)]
    document = {
        "source": SIMULATED,
        "effective_batch": ladder.inquiry.effective_batch,
        "rungs": rungs,
    }
    return json.dumps(document, indent=2) + "\n"


def _csv(ladder: Plan) -> str:
    rows = [row for row, _ in _records(ladder)]
    return csv_text(rows[0], rows)


def _records(ladder: Plan) -> list[tuple[dict[str, Any], PlanCell]]:
    cheapest = [cells[0] for cells in _of(ladder, Verdict.FITS).values() if cells]
    return [
        ({**record(c), "cheapest": c in cheapest, "s_per_image": None}, c) for c in ladder.cells
    ]


def _title(ladder: Plan) -> str:
    return f"How to make room for {ladder.inquiry.aim}, the cheapest first ({SIMULATED})"


def _rows(ladder: Plan) -> list[list[str]]:
    extra = columns(ladder)
    head = [*head_of(ladder), "batch", "accumulate", PEAK, BOUND, "budget GiB", "verdict", "time"]
    rungs = [
        [*names(c.setup, extra), *figures(c), verdict_in_words(c), UNKNOWN] for c in ladder.cells
    ]
    return [head, *rungs]


def _of(ladder: Plan, verdict: Verdict) -> dict[Hashable, list[PlanCell]]:
    """The rungs of each ladder with this verdict."""
    found: dict[Hashable, list[PlanCell]] = defaultdict(list)
    for cell in ladder.cells:
        found[frame(cell.setup)] += [cell] if cell.verdict is verdict else []
    return found


def _answers(ladder: Plan) -> list[str]:
    """The cheapest rung of each ladder, and what larger micro-batches take."""
    facets = [name for name in columns(ladder) if name not in LEVERS]
    fits, tight = _of(ladder, Verdict.FITS), _of(ladder, Verdict.TIGHT)
    said = []
    for rung in {frame(c.setup): c for c in ladder.cells}.values():
        key = frame(rung.setup)
        named = (f", {name} {VARYING[name](rung.setup)}" for name in facets)
        said.append(f"{rung.setup.model}{''.join(named)}: {_answer(fits[key], tight[key])}")
    return said


def _answer(fitting: list[PlanCell], tight: list[PlanCell]) -> str:
    if not fitting:
        return f"nothing fits surely; tight is {_typed(tight[0])}." if tight else "nothing fits."
    cheapest, *larger = fitting
    more = f" In larger micro-batches: {', or '.join(map(_typed, larger))}." if larger else ""
    return f"the cheapest that fits is {_typed(cheapest)}.{more}"


def _typed(cell: PlanCell) -> str:
    """Its overrides."""
    config = cell.setup.config
    levers = [f"memory.{name}={value}" for name, value in pulled(config).items()]
    amp = f"amp={str(config.amp).lower()}"
    return " ".join([f"batch={cell.batch}", f"accumulate={cell.accumulate}", amp, *levers])
