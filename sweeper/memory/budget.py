"""The budget: where it comes from, and the one place that decides whether a peak fits it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from sweeper.errors import SettingsError
from sweeper.memory.measure.nvml import Device
from sweeper.trial.record import Outcome, TrialResult, TrialSpec

# Safety margin of vram=auto: other processes, display and fragmentation of the device itself.
AUTO_MARGIN = 0.05

# The CUDA context of a card that no file describes: an allowance, until a trial measures its own.
AUTO_CONTEXT_GIB = 0.5

# How far NVML's figure may pass the budget before a trial is stopped while it runs. The cap
# on the allocator holds the rest, so this covers kernels that the context loads after the cap
# was set, pages that NVML counts in full, and drift of the display in the device method. An
# allowance: a peak above the budget by less is told over budget after the trial.
WATCHDOG_TOLERANCE_GIB = 0.125


@dataclass(frozen=True, slots=True)
class Card:
    """One file of the config group ``vram``; GiB, None is to be found out.

    Attributes:
        card: The file's name, or ``auto``.
        total_gib: Memory as nvidia-smi reports it.
        context_gib: Allowance for the CUDA context.
        margin_gib: What driver and display take of the total.
        budget_gib: Explicit limit, which wins over everything else.
        source: Where the total comes from.
        fallback_card: For ``auto``: the card to simulate where there is no GPU.
    """

    card: str
    total_gib: float | None
    context_gib: float | None
    margin_gib: float | None
    budget_gib: float | None
    source: str
    fallback_card: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limit on peak device memory, GiB.

    Attributes:
        budget_gib: The limit.
        context_gib: Allowance for the CUDA context; counts against the limit.
        card: Card it stands for.
        source: How it came about, for the reader of a report.
        message: What must be said aloud before work starts; may be empty.
    """

    budget_gib: float
    context_gib: float
    card: str
    source: str
    message: str = ""


def violation(peak_gib: float, budget_gib: float) -> float:
    """Peak minus budget, GiB: feasible when ``<= 0`` (the sign of Optuna's constraints)."""
    return peak_gib - budget_gib


def judge(result: TrialResult, budget_gib: float | None) -> TrialResult:
    """The result, told over budget if it ran but its peak passed the budget."""
    ran = result.outcome in {Outcome.COMPLETE, Outcome.PRUNED}
    if not ran or result.memory is None or budget_gib is None:
        return result
    excess_gib = violation(result.memory.peak_gib, budget_gib)
    if excess_gib <= 0:
        return result
    reason = f"peak {result.memory.peak_gib:.2f} GiB, {excess_gib:.2f} GiB over the budget"
    return replace(result, outcome=Outcome.OVER_BUDGET, reason=reason)


def refuse(spec: TrialSpec) -> TrialResult | None:
    """Where nothing can be measured, the result of a spec whose predicted peak does not fit."""
    if spec.device != "cpu" or spec.predicted is None or spec.limit_gib is None:
        return None
    excess_gib = violation(spec.predicted.peak_gib, spec.limit_gib)
    if excess_gib <= 0:
        return None
    reason = (
        f"{spec.label} at {spec.imgsz} px is {excess_gib:.2f} GiB over the budget "
        "(simulated); not trained"
    )
    return TrialResult(Outcome.OUT_OF_MEMORY, reason, memory=spec.predicted)


def watchdog_limit_gib(budget_gib: float) -> float:
    """NVML use above which a running trial is stopped, GiB."""
    return budget_gib + WATCHDOG_TOLERANCE_GIB


def resolve_budget(card: Card, gpu: Device | None, folder: Path) -> Budget:
    """Turn the ``vram`` settings into a budget.

    ``vram.budget_gib`` wins; else a named card's total less its margin; else (``auto``) this
    GPU less 5 %; else, without a GPU, the card named in ``vram.fallback_card``.

    Args:
        card: The composed ``vram`` settings.
        gpu: The device that trials will use; None on a machine without.
        folder: Folder of the card files (``conf/vram``), for the fallback.

    Raises:
        SettingsError: A value cannot work.
    """
    chosen, source = _choose(card, gpu, folder)
    if card.budget_gib is None:
        budget_gib = _usable_gib(chosen)
    else:
        budget_gib = _positive("vram.budget_gib", card.budget_gib)
        source = f"vram.budget_gib={budget_gib:g}"
    context_gib = AUTO_CONTEXT_GIB if chosen.context_gib is None else chosen.context_gib
    if context_gib < 0:
        raise SettingsError(
            f"vram.context_gib cannot be negative but got {context_gib:g}. "
            f"Set it to what CUDA itself takes, e.g. vram.context_gib=0.5."
        )
    if budget_gib <= context_gib:
        raise SettingsError(
            f"vram.budget_gib must be more than the CUDA context of {context_gib:g} GiB "
            f"but got {budget_gib:g}. Set it to your card's memory, e.g. vram=rtx3090."
        )
    message = _message(chosen.card, budget_gib, gpu)
    return Budget(budget_gib, context_gib, chosen.card, source, message)


def load_card(name: str, folder: Path) -> Card:
    """Read one card file.

    Raises:
        SettingsError: There is no such card.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "auto")
    if name not in known:
        raise SettingsError(
            f"vram.fallback_card must name a card but got {name!r}. "
            f"Choose one of: {', '.join(known)}."
        )
    return Card(**yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")))


def _choose(card: Card, gpu: Device | None, folder: Path) -> tuple[Card, str]:
    """The card whose memory counts, and how it was found."""
    if card.card != "auto":
        return card, f"card {card.card} (vram={card.card})"
    if gpu is None:
        typed = {
            key: value
            for key in ("total_gib", "margin_gib", "context_gib")
            if (value := getattr(card, key)) is not None
        }
        fallback = replace(load_card(card.fallback_card, folder), **typed)
        return fallback, f"card {card.fallback_card} (vram.fallback_card={card.fallback_card})"
    margin, less = card.margin_gib, f"{card.margin_gib} GiB"
    if margin is None:
        margin, less = AUTO_MARGIN * gpu.total_gib, f"{AUTO_MARGIN:.0%}"
    here = replace(card, card=gpu.name, total_gib=gpu.total_gib, margin_gib=margin)
    return here, f"this GPU {gpu.name}, {gpu.total_gib:.2f} GiB less {less}"


def _usable_gib(card: Card) -> float:
    total = _positive("vram.total_gib", card.total_gib)
    margin = card.margin_gib or 0.0
    if not 0 <= margin < total:
        raise SettingsError(
            f"vram.margin_gib must lie between 0 and vram.total_gib={total:g} but got {margin:g}. "
            f"Set it to what display and driver take, e.g. vram.margin_gib=0.5."
        )
    return total - margin


def _positive(key: str, value: float | None) -> float:
    if value is None or not math.isfinite(value) or value <= 0:
        raise SettingsError(
            f"{key} must be positive but got {value}. "
            f"Set it to your card's memory, e.g. vram=rtx3090."
        )
    return float(value)


def _message(card: str, budget_gib: float, gpu: Device | None) -> str:
    if gpu is None:
        return (
            f"No GPU here: memory is simulated for the card {card}, budget {budget_gib:.2f} GiB. "
            "Another card: vram=t4, vram=rtx4090, …"
        )
    if budget_gib >= gpu.total_gib:
        return (
            f"The budget of {budget_gib:.2f} GiB is no less than what this GPU has ({gpu.name}, "
            f"{gpu.total_gib:.2f} GiB): trials run out of memory at the GPU's own limit."
        )
    return ""
