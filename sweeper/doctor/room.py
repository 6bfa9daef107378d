"""How large a batch the budget has room for, as a plan says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweeper.doctor.finding import Finding, ok, warning
from sweeper.errors import DataError, SweeperError
from sweeper.plan.cells import Setup
from sweeper.plan.inquiry import inquire
from sweeper.plan.predictions import Found, make_plan
from sweeper.study.space import Space
from sweeper.training.contents import ContentsFinder
from sweeper.trial.levers import in_words, pulled
from sweeper.trial.readings import SIMULATED
from sweeper.trial.spec import AMP_WORDS

LATER = warning("batch", "what fits is predicted once the dataset has no faults.", "")


def check_room(space: Space, finder: ContentsFinder | None = None) -> list[Finding]:
    """Find the largest batch that fits, and the largest that is tight, of each setup of a space.

    ``finder`` may know datasets that were read before.
    """
    runs_dir = Path(space.cells[0].settings.runs_dir)
    try:
        plan = make_plan(inquire(_one_of_each(space), finder), runs_dir / "cache" / "vram")
    except DataError:  # the finding on the dataset has said it
        return [LATER]
    except (SweeperError, OSError) as error:
        return [warning("batch", f"what fits is not predicted: {error}", "")]
    return [_room(setup, found) for setup, found in plan.found.items()]


def _one_of_each(space: Space) -> Space:
    """One cell of those that differ in batch and accumulate only."""
    cells = {repr(replace(c.settings, batch=1, accumulate=1)): c for c in reversed(space.cells)}
    return replace(space, cells=tuple(reversed(cells.values())))


def _room(setup: Setup, found: Found) -> Finding:
    amp = AMP_WORDS[setup.config.amp]
    levers = in_words(pulled(setup.config))
    where = (
        f"{setup.model} at {setup.config.imgsz} px, {f'amp {amp} {levers}'.strip()}, {SIMULATED}"
    )
    if setup.boxes_source == "assumed":
        where += f", {setup.config.boxes_per_image:g} boxes per image assumed"
    limit = f"{setup.budget.limit_gib:.2f} GiB"
    if found.tight is None:
        other = "" if setup.config.amp else ", or amp=true"
        remedy = f"Choose a smaller model or data.imgsz{other}."
        return warning("batch", f"{where}: not even batch 1 fits {limit}.", remedy)
    tight = f"{found.tight.batch} is tight"
    if found.largest is None:
        return ok("batch", f"{where}: {tight} for {limit}")
    if found.largest.batch == setup.contents.train_images:
        return ok(
            "batch",
            f"{where}: any batch fits {limit}, also all {found.largest.batch} images at once",
        )
    more = f" ({tight})" if found.tight != found.largest else ""
    return ok("batch", f"{where}: {found.largest.batch} fits {limit}{more}")
