"""The one place that says what a trial comes to."""

from __future__ import annotations

import signal
from dataclasses import replace

from sweeper.memory.budget import violation
from sweeper.memory.measure.meter import add_part, add_sampled
from sweeper.memory.measure.nvml import source_of
from sweeper.numbers import count
from sweeper.trial.levers import in_words, pulled
from sweeper.trial.readings import MemoryReading, SampledPeak
from sweeper.trial.record import (
    ChildFacts,
    EndedBy,
    Ending,
    Outcome,
    TrialFacts,
    TrialResult,
    summarise_epochs,
)
from sweeper.trial.spec import TrialSpec

# A failed allocation never shows in the peak: all that is known is that the cell does not fit.
LEAST_EXCESS_GIB = 1e-3
SHUTDOWN = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # to everything of a session at once
FITTING = {Outcome.COMPLETE, Outcome.PRUNED}  # unless the peak passed the limit


def judge(spec: TrialSpec, facts: TrialFacts) -> TrialResult:
    """What a trial comes to, from all that was seen of it."""
    child = facts.child or ChildFacts(Ending.ERROR, epochs=facts.epochs)
    memory = child.memory
    if facts.sampled:
        memory = add_sampled(memory, facts.sampled, source_of(facts.device))
    memory = add_part(spec.held, memory)
    outcome, reason = _outcome(spec, facts, memory)
    if outcome is Outcome.AMP_REFUSED:
        memory = None  # of its set-up, not of the cell
    return TrialResult(
        outcome=outcome,
        reason=reason,
        paused=child.paused and outcome is Outcome.COMPLETE,
        excess_gib=_excess_gib(outcome, memory, spec.limit_gib),
        **summarise_epochs(child.epochs or facts.epochs),
        wall_time_s=spec.spent_s + facts.wall_time_s,
        train_time_s=_train_time_s(spec, child),
        images_per_s=child.images_per_s,
        iterations=child.iterations,
        optimizer_steps=child.optimizer_steps,
        amp_dtype=child.amp_dtype,
        memory=memory,
        peak_rss_gib=child.peak_rss_gib,
        cpu_wait=child.cpu_wait,
        settings=child.settings,
        device=facts.device_name,
        host=facts.host,
        class_map50=child.class_map50,
    )


def _train_time_s(spec: TrialSpec, child: ChildFacts) -> float | None:
    """That of the last part and of the epochs of the earlier ones."""
    if child.train_time_s is None:
        return None
    return child.train_time_s + sum(e.epoch_s or 0.0 for e in child.epochs[: spec.trained])


def refuse(spec: TrialSpec) -> TrialResult | None:
    """Where nothing can be measured, the result of a spec whose predicted peak does not fit."""
    if spec.predicted is None:
        return None
    excess_gib = violation(spec.predicted.peak_gib, spec.limit_gib)
    if excess_gib <= 0:
        return None
    reason = (
        f"{spec.label} at {spec.imgsz} px is {excess_gib:.2f} GiB over the budget "
        "(simulated); not trained"
    )
    return TrialResult(Outcome.OUT_OF_MEMORY, reason, excess_gib, memory=spec.predicted)


def imply(proof: int) -> TrialResult:
    """The result of a cell that trial ``proof`` decides."""
    reason = f"not run: trial {proof}, which needs no more memory, did not fit"
    return TrialResult(Outcome.IMPLIED, reason, LEAST_EXCESS_GIB, implied_by=proof)


def cover(spec: TrialSpec, leader: TrialSpec) -> TrialResult:
    """The result of a cell that is not run, as one that takes its steps sooner speaks for it."""
    spared = {k: v for k, v in pulled(spec).items() if pulled(leader).get(k) != v}
    how = f"without {in_words(spared)}" if spared else "in larger micro-batches"
    reason = (
        f"not run: trial {leader.number}, {leader.label}, takes the same optimizer steps of "
        f"{count(spec.effective_batch, 'image')} {how}"
    )
    return TrialResult(Outcome.COVERED, reason, implied_by=leader.number)


def interrupt(reason: str) -> TrialResult:
    """The result of a trial that did not come to its end."""
    return TrialResult(Outcome.INTERRUPTED, reason)


def _outcome(
    spec: TrialSpec, facts: TrialFacts, memory: MemoryReading | None
) -> tuple[Outcome, str]:
    outcome, reason = _ended(spec, facts)
    if outcome in FITTING and memory is not None:
        excess_gib = violation(memory.peak_gib, spec.limit_gib)
        if excess_gib > 0:
            over = f"peak {memory.peak_gib:.2f} GiB, {excess_gib:.2f} GiB over the budget"
            return Outcome.OVER_BUDGET, over
        if facts.sampled and (disturbed := _disturbed(spec, facts.sampled, memory)):
            return Outcome.DISTURBED, disturbed
    seen = facts.sampled
    if outcome is Outcome.CRASHED and seen is not None and seen.exceeded:
        return Outcome.OVER_BUDGET, (
            f"stopped while running: NVML saw {seen.peak_gib:.2f} GiB, "
            f"the budget is {spec.limit_gib:.2f} GiB"
        )
    return outcome, reason


def _disturbed(spec: TrialSpec, seen: SampledPeak, memory: MemoryReading) -> str:
    """What keeps a peak within the budget from being believed; empty when nothing does."""
    if seen.method != "device" or (seen.peak_gib or 0.0) <= spec.limit_gib:
        return ""
    return (
        f"the GPU's use grew by {seen.peak_gib:.2f} GiB, over the budget of {spec.limit_gib:.2f}; "
        f"the trial knows of {memory.peak_gib:.2f}, and NVML hides whose the rest is. End other "
        "processes and give the same command again; if there were none, CUDA's context takes more "
        f"than vram.context_gib={spec.context_gib:g}."
    )


def _ended(spec: TrialSpec, facts: TrialFacts) -> tuple[Outcome, str]:
    """The outcome apart from memory. What the training itself wrote comes first."""
    if facts.refused:
        return Outcome.CRASHED, facts.refused
    if facts.no_start:
        return Outcome.CRASHED, f"no process could be started ({facts.no_start})."
    if facts.child is not None:
        return _of_ending(spec, facts.child)
    if facts.ended_by is not None:
        return _of_outside(spec, facts.ended_by)
    return _of_exit(facts.exit_code)


def _of_ending(spec: TrialSpec, child: ChildFacts) -> tuple[Outcome, str]:
    if child.ending is Ending.COMPLETE:
        return Outcome.COMPLETE, ""
    if child.ending is Ending.STOPPED:
        return Outcome.PRUNED, "stopped early: behind the other trials at the same epoch"
    if child.ending is Ending.OUT_OF_MEMORY:
        reason = f"{spec.label} at {spec.imgsz} px: {child.message}"
        if child.shortfall:
            return Outcome.DISTURBED, f"{reason} But {child.shortfall}."
        return Outcome.OUT_OF_MEMORY, reason
    if child.ending is Ending.DIVERGED:
        without = ", or set amp=false" if spec.amp else ""
        return Outcome.DIVERGED, f"{child.message}. Lower train.lr0 or accumulate{without}."
    if child.ending is Ending.AMP_REFUSED:
        if spec.amp == "bf16":
            fix = "Set amp=true or amp=false, or use another card."
            return Outcome.AMP_REFUSED, f"{child.message}. {fix}"
        same = replace(spec, amp=False).label
        return Outcome.AMP_REFUSED, (
            f"{child.message}: it would have trained as {same}, without AMP. "
            "Set amp=false or use another card; see log.txt."
        )
    if child.ending is Ending.TOO_SHORT:
        return Outcome.CRASHED, child.message
    return Outcome.CRASHED, f"{child.message} See log.txt."


def _of_outside(spec: TrialSpec, ended_by: EndedBy) -> tuple[Outcome, str]:
    if ended_by is EndedBy.STUDY:
        return Outcome.INTERRUPTED, "the study was stopped"
    if ended_by is EndedBy.HOST:
        return Outcome.INTERRUPTED, "its job was taken away, or its machine went"
    if ended_by is EndedBy.TIMEOUT:
        reason = f"still training after study.trial_timeout_s={spec.timeout_s:g}."
        return Outcome.TIMEOUT, f"{reason} Raise it or lower train.epochs."
    reason = f"no sign of life for study.stall_timeout_s={spec.stall_timeout_s:g}."
    return Outcome.TIMEOUT, f"{reason} See log.txt for where it hung."


def _of_exit(code: int | None) -> tuple[Outcome, str]:
    """The outcome of a training that ended without a word."""
    if code == -signal.SIGKILL:
        return Outcome.CRASHED, (
            "the process was killed by SIGKILL, as the kernel's out-of-memory killer does "
            "(see dmesg). Lower batch or executor.slots if host memory is short."
        )
    if code is not None and -code in SHUTDOWN:
        return Outcome.INTERRUPTED, f"ended by {signal.Signals(-code).name}"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return Outcome.CRASHED, f"the process was killed by {name}. See log.txt."
    return Outcome.CRASHED, f"the process ended with exit code {code} and no result. See log.txt."


def _excess_gib(outcome: Outcome, memory: MemoryReading | None, limit_gib: float) -> float | None:
    if outcome is Outcome.DISTURBED:
        return None
    known = violation(memory.peak_gib, limit_gib) if memory is not None else None
    return max(known or 0.0, LEAST_EXCESS_GIB) if outcome.infeasible else known
