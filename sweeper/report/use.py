"""What to do with the answer: the commands that train, repeat and export the winner."""

from __future__ import annotations

from sweeper.report.cells import CellSummary
from sweeper.report.decision import best_pt, training_longer
from sweeper.report.findings import Findings
from sweeper.report.markdown import code
from sweeper.trial.command import needs_python, tool_command, whole_training

LONGER = "A study that trains each cell longer, to the end of its run:"
ACCUMULATE = (
    "Ultralytics has no `accumulate`: it accumulates `nbs / batch` batches, and fewer during its "
    "warm-up, where sweeper holds the number constant. Its results go to the `runs_dir` of `yolo "
    "settings`, whatever folder it is started in; `project=` names another place. It also logs to "
    "an MLflow of its own in the folder it is started in: `yolo settings mlflow=False` ends that."
)


def use(findings: Findings) -> list[str]:
    """The section on it; empty before the study has ended."""
    winner, name = findings.recommended, findings.study.name
    if not findings.ended:
        return []
    if winner is None:
        longer = training_longer(findings)
        return ["## Train longer", LONGER, code(longer)] if longer else []
    sections = ["## Use it", "Train with the winner's settings in plain Ultralytics:"]
    language = "python" if needs_python(winner.spec) else "sh"
    sections += [code(whole_training(winner.spec), language), ACCUMULATE]
    if winner.finished:
        sections.append(
            f"This run was finished here; its weights are in {best_pt(winner.finished)}."
        )
    if findings.study.command:
        sections += [_again(findings, winner), code(findings.study.command)]
    deploy = tool_command("sweeper.deploy", f"study.name={name}")
    return [*sections, "Export the winner and measure each export:", code(deploy)]


def _again(findings: Findings, winner: CellSummary) -> str:
    """What the study's own command is good for, once it has ended."""
    if any(c.first.outcome is not None and c.first.outcome.runs_again for c in findings.cells):
        return "Run once more what failed, or with `study.resume=false` all of the study:"
    confirm = "`study.confirm.top=2` to repeat the best cells with other seeds, "
    finish = "`study.finish=true` to train the recommended one to its end, "
    added = (not winner.confirmed) * confirm + winner.can_go_on * finish
    once_more = "`study.resume=false` to run all of it again:"
    return f"This study's command; add {added}{'or ' * bool(added)}{once_more}"
