"""The comparison of a study's trials as rows of text."""

from __future__ import annotations

from sweeper.display import format_seconds
from sweeper.tracking import StudyRecord, TrialRecord
from sweeper.trial import Outcome

BASELINE = ("baseline", "b16×a1")


def comparison(study: StudyRecord) -> list[list[str]]:
    """Header and one row per trial, the best mAP@0.5 first."""
    base = baseline(study)
    source = next((t.tags["vram_source"] for t in study.trials if "vram_source" in t.tags), "")
    header = ["strategy", "batch", "accumulate", "effective batch", "amp"]
    header += [f"peak GiB ({source})", "mAP@0.5", "wall time", "outcome"]
    if base is not None:
        header += [f"peak vs {base.params['strategy']}", "mAP@0.5 (points)", "time"]
    ranked = sorted(study.trials, key=lambda t: t.metrics.get("map50", -1.0), reverse=True)
    return [header, *(_row(t, base) for t in ranked)]


def baseline(study: StudyRecord) -> TrialRecord | None:
    """The trial of the baseline strategy, else the largest plain batch, if it completed."""
    complete = [t for t in study.trials if t.outcome == Outcome.COMPLETE]
    plain = [t for t in complete if t.params["accumulate"] == "1" and t.params["amp"] == "False"]
    named = [t for t in plain if t.params["strategy"] in BASELINE]
    return max(named or plain, key=lambda t: int(t.params["batch"]), default=None)


def best(study: StudyRecord) -> TrialRecord | None:
    """The complete trial with the highest mAP@0.5."""
    complete = [t for t in study.trials if t.outcome == Outcome.COMPLETE]
    return max(complete, key=lambda t: t.metrics.get("map50", 0.0), default=None)


def _row(trial: TrialRecord, base: TrialRecord | None) -> list[str]:
    params, metrics = trial.params, trial.metrics
    row = [params["strategy"], params["batch"], params["accumulate"], params["effective_batch"]]
    row += ["on" if params["amp"] == "True" else "off"]
    row += [_number(metrics.get("peak_gib"), ".2f"), _number(metrics.get("map50"), ".3f")]
    row += [format_seconds(metrics["wall_time_s"]) if "wall_time_s" in metrics else "–"]
    row += [trial.outcome]
    if base is not None:
        row += [
            _change(trial, base, "peak_gib"),
            _points(trial, base),
            _change(trial, base, "wall_time_s"),
        ]
    return row


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _change(trial: TrialRecord, base: TrialRecord, metric: str) -> str:
    ours, theirs = trial.metrics.get(metric), base.metrics.get(metric)
    if trial is base or ours is None or not theirs:
        return "–"
    return f"{100 * (ours / theirs - 1):+.0f} %"


def _points(trial: TrialRecord, base: TrialRecord) -> str:
    ours, theirs = trial.metrics.get("map50"), base.metrics.get("map50")
    if trial is base or ours is None or theirs is None:
        return "–"
    return f"{100 * (ours - theirs):+.1f}"
