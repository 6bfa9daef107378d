"""The budget that a card's file, this GPU or the command line gives."""

from __future__ import annotations

import math
from dataclasses import replace

import yaml

from sweeper.config.conf_dir import CONF_DIR
from sweeper.config.settings import VramSettings
from sweeper.errors import SettingsError
from sweeper.memory.budget import Budget
from sweeper.memory.measure.nvml import Device
from sweeper.trial.readings import EMULATED

CARDS = CONF_DIR / "vram"

# Safety margin of vram=auto: other processes, display and fragmentation of the device itself.
AUTO_MARGIN = 0.05

# The CUDA context of a card that no file describes: assumed, until a trial measures its own.
AUTO_CONTEXT_GIB = 0.5


def find_budget(vram: VramSettings, gpu: Device | None) -> Budget:
    """Turn the ``vram`` settings into a budget.

    ``vram.budget_gib`` wins; else a named card's total less its margin; else (``auto``) this
    GPU less 5 %; else, without a GPU, the card named in ``vram.fallback_card``.

    Args:
        vram: The composed ``vram`` settings.
        gpu: The device that trials will use; None on a machine without.

    Raises:
        SettingsError: A value cannot work.
    """
    chosen, source = _choose(vram, gpu)
    if vram.budget_gib is None:
        limit_gib = _usable_gib(chosen)
    else:
        limit_gib = _positive("vram.budget_gib", vram.budget_gib)
        source = f"vram.budget_gib={limit_gib:g}"
    context_gib = _context_gib(chosen, limit_gib)
    typed = vram.budget_gib is not None
    message = _message(chosen.card, limit_gib, typed, gpu)
    return Budget(limit_gib, context_gib, chosen.card, source, message)


def load_card(name: str) -> VramSettings:
    """Read one card file of the config group ``vram``.

    Raises:
        SettingsError: There is no such card.
    """
    known = sorted(path.stem for path in CARDS.glob("*.yaml") if path.stem != "auto")
    if name not in known:
        raise SettingsError(
            f"vram.fallback_card must name a card but got {name!r}. "
            f"Choose one of: {', '.join(known)}."
        )
    return VramSettings(**yaml.safe_load((CARDS / f"{name}.yaml").read_text(encoding="utf-8")))


def _choose(card: VramSettings, gpu: Device | None) -> tuple[VramSettings, str]:
    """The card whose memory counts, and how it was found."""
    if card.card != "auto":
        return card, f"card {card.card} (vram={card.card})"
    if gpu is None:
        typed = {
            key: value
            for key in ("total_gib", "margin_gib", "context_gib")
            if (value := getattr(card, key)) is not None
        }
        fallback = replace(load_card(card.fallback_card), **typed)
        return fallback, f"card {card.fallback_card} (vram.fallback_card={card.fallback_card})"
    margin, less = card.margin_gib, f"{card.margin_gib} GiB"
    if margin is None:
        margin, less = AUTO_MARGIN * gpu.total_gib, f"{AUTO_MARGIN:.0%}"
    here = replace(card, card=gpu.name, total_gib=gpu.total_gib, margin_gib=margin)
    return here, f"this GPU {gpu.name}, {gpu.total_gib:.2f} GiB less {less}"


def _context_gib(card: VramSettings, limit_gib: float) -> float:
    context_gib = AUTO_CONTEXT_GIB if card.context_gib is None else card.context_gib
    if context_gib < 0:
        raise SettingsError(
            f"vram.context_gib cannot be negative but got {context_gib:g}. "
            f"Set it to what CUDA itself takes, e.g. vram.context_gib=0.5."
        )
    if limit_gib <= context_gib:
        raise SettingsError(
            f"vram.budget_gib must be more than the CUDA context of {context_gib:g} GiB "
            f"but got {limit_gib:g}. Set it to your card's memory, e.g. vram=rtx3090."
        )
    return context_gib


def _usable_gib(card: VramSettings) -> float:
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


def _message(card: str, limit_gib: float, typed: bool, gpu: Device | None) -> str:
    if gpu is None and typed:
        return (
            f"No GPU here: memory is simulated for a budget of {limit_gib:.2f} GiB, with the CUDA "
            f"context of the card {card}."
        )
    if gpu is None:
        return (
            f"No GPU here: memory is simulated for the card {card}, budget {limit_gib:.2f} GiB. "
            "Another card: vram=t4, vram=rtx4090, …"
        )
    if gpu.source == EMULATED:
        return (
            f"{gpu.name}: memory is emulated, {gpu.total_gib:.2f} GiB with a budget of "
            f"{limit_gib:.2f}; the CPU computes, and cuDNN's workspaces are missing."
        )
    if limit_gib >= gpu.total_gib:
        return (
            f"The budget of {limit_gib:.2f} GiB is at least what this GPU has ({gpu.name}, "
            f"{gpu.total_gib:.2f} GiB): trials run out of memory at the GPU's own limit."
        )
    return ""
