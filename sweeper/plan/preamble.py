"""What holds for every number of a plan, and comes before its tables."""

from __future__ import annotations

from sweeper.memory.contents import BoxesSource
from sweeper.memory.predict.bound import LEVEL
from sweeper.numbers import count
from sweeper.plan.cells import Setup
from sweeper.plan.facets import VARYING, shared
from sweeper.plan.predictions import Found, Plan
from sweeper.plan.verify import Verification
from sweeper.trial.readings import SIMULATED

LINES_OF_THEIR_OWN = ("card", "boxes per image", "images")
BOXES_SOURCES: dict[BoxesSource, str] = {
    "labels": "counted in the labels, as the run shows them.",
    "typed": "as typed.",
    "assumed": "assumed, as no labels were read: the bound leaves room for fuller ones. "
    "To count yours: data=custom data.yaml=PATH.",
}
BOUND = f"at most ({LEVEL:.0%})"
VERDICTS = (
    f"fits: even the upper bound, column {BOUND}, is within the budget. tight: only the peak is. "
    "no: neither is."
)


def preamble(plan: Plan, verification: Verification | None) -> list[str]:
    """What holds for every number."""
    asked = plan.inquiry
    same = shared(plan).items()
    facts = [f"{name}={text}" for name, text in same if name not in LINES_OF_THEIR_OWN]
    if verification is None:
        facts += ["nothing was measured"]
    lines = [f"Peak device memory, {SIMULATED} without a GPU: {', '.join(facts)}."]
    lines += _boxes_lines(plan)
    for budget in asked.budgets:
        held = f"of which {budget.context_gib:g} GiB for the CUDA context"
        lines.append(f"Budget {budget.limit_gib:.2f} GiB, {held}: {budget.source}.")
    return [*lines, VERDICTS]


def _boxes_lines(plan: Plan) -> list[str]:
    """How many objects an image is taken to hold, and why."""
    number = VARYING["boxes per image"]
    lines = [
        f"Boxes per image: {number(s)}, {BOXES_SOURCES[s.boxes_source]} "
        f"Sized for the fullest of {s.config.images} images{_run(s)}."
        f"{_most(plan.found.get(s))}"
        for s in plan.setups
    ]
    return list(dict.fromkeys(lines))


def _run(setup: Setup) -> str:
    """Which images that are: all that the run draws, where the data set is known."""
    drawn, images = setup.contents.images, setup.contents.train_images
    if not drawn or not images:
        return ", an assumed number"
    return f", the training split's {images} in each of {count(drawn // images, 'epoch')}"


def _most(found: Found | None) -> str:
    """That no batch is larger than the training split, where only that ends it."""
    if found is None or found.tight is None:
        return ""
    images = found.tight.setup.contents.train_images
    if found.tight.batch != images:
        return ""
    return f" The training split has {images}: no batch has more."
