"""What a run tells: what it trains, what a trial or a study came to, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.config.settings import Settings
from sweeper.numbers import count
from sweeper.report.publish import publish
from sweeper.study.context import RunContext
from sweeper.study.display import result_line
from sweeper.study.optuna_study import CellStudy
from sweeper.study.registration import register_winner
from sweeper.trial.command import tool_command
from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import TrialResult
from sweeper.trial.rungs import default_rungs
from sweeper.trial.spec import TrialSpec, trained_px

ONE_EPOCH = (
    "one epoch shows what fits and how long it takes, and ranks nothing: to compare the cells' "
    "mAP@0.5, give the epochs of the run you plan, e.g. train.epochs=40"
)
FEW_EPOCHS = (
    "{} epochs rank the cells by how they begin, which favours small effective batches: to "
    "compare their ends, give the epochs of the run you plan, e.g. train.epochs=40"
)


def training_in_words(specs: list[TrialSpec]) -> str:
    """``yolo11n on digits, 160 px, 4 epochs``: what is trained, with all its values."""
    models, data, sizes, epochs = (
        "/".join(dict.fromkeys(f"{getattr(spec, name)}" for spec in specs))
        for name in ("model", "data", "imgsz", "epochs")
    )
    trained = "/".join(f"{trained_px(int(side))}" for side in sizes.split("/"))
    at = f" (trained at {trained})" if trained != sizes else ""
    return f"{models} on {data}, {sizes} px{at}, {epochs} epoch{'s' * (epochs != '1')}"


def caution_of_length(specs: Iterable[TrialSpec]) -> str:
    """What cells that are trained too short for rungs cannot tell; empty where they can."""
    epochs = [spec.epochs for spec in specs]
    longest = max(epochs)
    if default_rungs(longest) or len(epochs) == 1:
        return ""
    return FEW_EPOCHS.format(longest) if longest > 1 else ONE_EPOCH


def say_result(context: RunContext, result: TrialResult, folder: TrialFolder) -> None:
    """Say what a single trial came to, and where its records are."""
    context.say(f"{folder.read_spec().label}  {result_line(result)}")
    if result.amp_dtype:
        context.say(
            f"{count(result.optimizer_steps, 'optimizer step')} from "
            f"{count(result.iterations, 'micro-batch', 'micro-batches')} in {result.amp_dtype}"
        )
    context.say(f"records: {folder.path}")
    if folder.best_weights.is_file():
        context.say(f"weights: {folder.best_weights}")


def say_outcome(context: RunContext, study: CellStudy, done: bool, tracked: bool) -> None:
    """Write the report; say the answer and what to do next."""
    report = publish(context.settings, context.name, tracked)
    if report.warning:
        context.say(report.warning)
    context.say(f"{report.answer}\nreport: {report.path}")
    if not done:
        context.say(
            "stopped. The same command goes on: what has ended counts, what was running begins "
            "its part again."
        )
        return
    if not study.best():
        context.say(study.nearest_miss())
    if context.settings.study.register is not None:
        context.say(register_winner(context.settings, context.name))
    here = [f"study.name={context.name}", *context.settings.elsewhere]
    context.say("next:")
    context.say(f"  {tool_command('sweeper.report', *here, 'report.format=html')}")
    context.say(f"  {_where_to_compare(context.settings, report.link)}")
    if report.onward:
        context.say(f"  {report.onward}")
    if report.recommends:
        context.say(f"  {tool_command('sweeper.deploy', *here)}")


def _where_to_compare(settings: Settings, link: str) -> str:
    if link and settings.tracking_uri.startswith("http"):
        return f"{link}   # compare in MLflow"
    return f"make ui   # compare in MLflow{': ' + link if link else ''}"
