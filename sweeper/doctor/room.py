"""How large a batch the budget has room for, as a plan says it."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, ok, warning
from sweeper.errors import DataError, SweeperError
from sweeper.plan.inquiry import inquire
from sweeper.plan.predictions import make_plan
from sweeper.study.space import Cell, Space
from sweeper.training.contents import ContentsFinder
from sweeper.training.dataset import Dataset
from sweeper.training.reading import Reading
from sweeper.trial.readings import SIMULATED
from sweeper.trial.spec import AMP_WORDS


def check_room(settings: Settings, reading: Reading | None = None) -> Finding:
    """Find the largest batch that fits, and the largest that is tight.

    ``reading`` is of the configuration's dataset, where that has been read.
    """
    space, finder = Space({}, (), (Cell((), settings, ""),)), ContentsFinder()
    if reading is not None and reading.faults:
        return _later()
    if reading is not None:
        finder.know(settings, Dataset.of(reading))
    try:
        plan = make_plan(inquire(space, finder), Path(settings.runs_dir) / "cache" / "vram")
    except DataError:  # the finding on the dataset has said it
        return _later()
    except (SweeperError, OSError) as error:
        return warning("batch", f"what fits is not predicted: {error}", "")
    ((setup, found),) = plan.found.items()
    amp = AMP_WORDS[setup.config.amp]
    where = f"{setup.model} at {setup.config.imgsz} px, amp {amp}, {SIMULATED}"
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
    more = f" ({tight})" if found.tight != found.largest else ""
    return ok("batch", f"{where}: {found.largest.batch} fits {limit}{more}")


def _later() -> Finding:
    return warning("batch", "what fits is predicted once the dataset has no faults.", "")
