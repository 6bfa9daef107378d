"""The winner's exports in the report, from the numbers that a deployment left."""

from __future__ import annotations

from sweeper.numbers import NOTHING, score
from sweeper.report.markdown import Table
from sweeper.trial.study_record import DeploymentRecord

PREFIX = "deploy/"
MEASURED = "Measured by `python -m sweeper.deploy`; its own table says how, and what failed."
EMULATED = (
    "Run by `python -m sweeper.deploy` on an emulated card: times are those of the CPU and say "
    "nothing of a GPU. Its own table says how, and what failed."
)
CHOSEN = " The weights are those of the run by which the cell was chosen, not of its fresh seeds."
ON_SQUARES = "that of images letterboxed to the square of the image size, as exports need"

# Column and metric of each export, and how its number is written.
COLUMNS = {
    "file MiB": ("size_mib", "{:.1f}"),
    "load s": ("load_s", "{:.2f}"),
    "ms at batch 1": ("latency_ms_b1", "{:.1f}"),
    "images/s at batch 1": ("images_per_s_b1", "{:.0f}"),
    "peak RSS MiB": ("peak_rss_mib", "{:.0f}"),
    "mAP@0.5": ("map50", "{:.3f}"),
}


def deployment_source(
    record: DeploymentRecord | None, study_map50: float | None, confirmed: bool
) -> str:
    """What the numbers of `deployment` are, the study's own mAP@0.5 among them."""
    source = EMULATED if record is not None and record.emulated else MEASURED
    return f"{source} mAP@0.5 is {ON_SQUARES}{in_the_study(study_map50)}.{CHOSEN * confirmed}"


def in_the_study(map50: float | None) -> str:
    """To be added to a deployment's mAP@0.5: why the study's is another; empty without one."""
    return "" if map50 is None else f" (padded as in training, in the study: {score(map50)})"


def deployment(record: DeploymentRecord | None) -> Table:
    """One row per export that ran; empty before ``python -m sweeper.deploy``."""
    metrics = record.metrics if record is not None else {}
    formats = dict.fromkeys(name.split("/")[1] for name in metrics)
    rows = []
    for name in formats:
        values = [(metrics.get(f"{PREFIX}{name}/{key}"), form) for key, form in COLUMNS.values()]
        rows.append([name, *(NOTHING if v is None else form.format(v) for v, form in values)])
    return Table(["export", *COLUMNS], rows)
