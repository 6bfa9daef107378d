"""A plan as text: two tables for people, one document or one row per cell for programs."""

from __future__ import annotations

import json
from typing import Any

from sweeper.memory.verdict import Verdict
from sweeper.plan import verified
from sweeper.plan.cells import Setup
from sweeper.plan.facets import VARYING, columns
from sweeper.plan.files import csv_text
from sweeper.plan.preamble import BOUND, preamble
from sweeper.plan.predictions import Found, Plan, PlanCell
from sweeper.plan.verify import Verification
from sweeper.trial.readings import SIMULATED
from sweeper.trial.spec import AMP_WORDS

Rows = list[list[str]]

PEAK = f"peak GiB ({SIMULATED})"


def render(plan: Plan, form: str, verification: Verification | None = None) -> str:
    """The plan as ``table``, ``markdown``, ``json`` or ``csv``, which has no verification."""
    if form == "csv":
        return _csv(plan)
    return {"table": _table, "markdown": _markdown, "json": _json}[form](plan, verification)


def _table(plan: Plan, verification: Verification | None) -> str:
    parts = [*preamble(plan, verification)]
    for title, rows in _tables(plan, verification):
        parts += ["", title, *aligned(rows)]
    return "\n".join([*parts, *_sentences(plan, verification)]) + "\n"


def _markdown(plan: Plan, verification: Verification | None) -> str:
    parts = ["# Memory plan", *preamble(plan, verification)]
    for title, (head, *body) in _tables(plan, verification):
        rows = [head, ["---"] * len(head), *body]
        parts += [f"## {title}", "\n".join(f"| {' | '.join(row)} |" for row in rows)]
    return "\n\n".join([*parts, *_sentences(plan, verification)]) + "\n"


def _json(plan: Plan, verification: Verification | None) -> str:
    document = {
        "source": SIMULATED,
        "effective_batch": plan.inquiry.effective_batch,
        "boxes_per_image": _shared_boxes(plan),
        "cells": [{**record(c), "parts_gib": rounded(c.parts)} for c in plan.cells],
        "largest": [
            _setup_record(setup) | _found_record(found) for setup, found in plan.found.items()
        ],
    }
    if verification is not None:
        document["verified"] = verified.records(verification, _setup_record)
    return json.dumps(document, indent=2) + "\n"


def _csv(plan: Plan) -> str:
    """Row per cell; what is known of its setup's largest batch stands in each of them."""
    rows = [{**record(c), **_found_record(plan.found[c.setup])} for c in plan.cells]
    return csv_text(rows[0], rows)


def _tables(plan: Plan, verification: Verification | None) -> list[tuple[str, Rows]]:
    extra, head = columns(plan), head_of(plan)
    cells = [[*names(c.setup, extra), *figures(c), verdict_in_words(c)] for c in plan.cells]
    reached = [
        [
            *names(setup, extra),
            *_reaching(found.exact),
            *_largest(found.largest),
            _tight(found),
        ]
        for setup, found in plan.found.items()
    ]
    numbers = ["batch", "accumulate", PEAK, BOUND, "budget GiB"]
    tables = [
        (f"What fits ({SIMULATED})", [[*head, *numbers, "verdict"], *cells]),
        (
            f"How to reach {plan.inquiry.aim}, and the largest batch that fits ({SIMULATED})",
            [[*head, *numbers, "largest batch", "at most GiB", "tight up to"], *reached],
        ),
    ]
    if verification is not None:
        rows = verified.rows(verification, head, lambda setup: names(setup, extra))
        tables.append((verified.title(verification), rows))
    return tables


def _sentences(plan: Plan, verification: Verification | None) -> list[str]:
    """What follows from the trainings of a verification."""
    if verification is None:
        return []
    extra = columns(plan)
    return verified.sentences(verification, head_of(plan), lambda setup: names(setup, extra))


def head_of(plan: Plan) -> list[str]:
    """Names of the columns that tell setups apart."""
    return ["model", *columns(plan), "amp"]


def names(setup: Setup, extra: list[str]) -> list[str]:
    return [
        setup.model,
        *(VARYING[name](setup) for name in extra),
        AMP_WORDS[setup.config.amp],
    ]


def figures(cell: PlanCell) -> list[str]:
    sizes = (cell.peak_gib, cell.upper_gib, cell.setup.budget.limit_gib)
    return [f"{cell.batch}", f"{cell.accumulate}", *(f"{gib:.2f}" for gib in sizes)]


def _reaching(cell: PlanCell | None) -> list[str]:
    return figures(cell) if cell else ["none", *"–" * 4]


def _largest(cell: PlanCell | None) -> list[str]:
    return [f"{cell.batch}", f"{cell.upper_gib:.2f}"] if cell else ["none", "–"]


def _tight(found: Found) -> str:
    """The largest batch that is tight, if any."""
    return f"{found.tight.batch}" if found.tight and found.tight != found.largest else "–"


def verdict_in_words(cell: PlanCell) -> str:
    over = f", {cell.excess_gib:.2f} GiB over" if cell.verdict is Verdict.NO else ""
    return f"{cell.verdict}{over}"


def aligned(rows: Rows) -> list[str]:
    """Columns as wide as their widest entry, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [
        any(row[i].lstrip("+-")[:1].isdigit() for row in rows[1:]) for i in range(len(widths))
    ]
    return [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def _setup_record(setup: Setup) -> dict[str, Any]:
    budget, config = setup.budget, setup.config
    return {
        "model": setup.model,
        "card": budget.card,
        "budget_gib": round(budget.limit_gib, 3),
        "context_gib": round(budget.context_gib, 3),
        "imgsz": config.imgsz,
        "nc": config.nc,
        "optimizer": config.optimizer,
        "allocator": config.allocator,
        "checkpoint": config.checkpoint,
        "val_batch": config.val_batch,
        "freeze": config.freeze,
        "amp": config.amp,
        "boxes_per_image": round(config.boxes_per_image, 3),
        "boxes_source": setup.boxes_source,
        "images": config.images,
    }


def _shared_boxes(plan: Plan) -> float | None:
    """Boxes per image of every cell; None where they differ."""
    found = {setup.config.boxes_per_image for setup in plan.found}
    return round(found.pop(), 3) if len(found) == 1 else None


def record(cell: PlanCell) -> dict[str, Any]:
    return {
        **_setup_record(cell.setup),
        "batch": cell.batch,
        "accumulate": cell.accumulate,
        "fullest_image": cell.config.fullest_image,
        "peak_gib": round(cell.peak_gib, 3),
        "peak_upper_gib": round(cell.upper_gib, 3),
        "verdict": cell.verdict,
        "vram_source": SIMULATED,
    }


def _found_record(found: Found) -> dict[str, Any]:
    named = {"exact": found.exact, "largest": found.largest, "tight": found.tight}
    return {k: v for name, cell in named.items() for k, v in _searched(name, cell).items()}


def _searched(name: str, cell: PlanCell | None) -> dict[str, Any]:
    return {
        f"{name}_batch": cell.batch if cell else None,
        f"{name}_accumulate": cell.accumulate if cell else None,
        f"{name}_peak_gib": round(cell.peak_gib, 3) if cell else None,
        f"{name}_upper_gib": round(cell.upper_gib, 3) if cell else None,
    }


def rounded(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(gib, 3) for name, gib in parts.items()}
