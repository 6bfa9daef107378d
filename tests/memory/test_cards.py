"""Where the budget comes from, and what fits it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from sweeper.config.settings import VramSettings
from sweeper.errors import SettingsError
from sweeper.memory.cards import CARDS, find_budget, load_card
from sweeper.memory.measure.nvml import Device

NAMES = sorted(path.stem for path in CARDS.glob("*.yaml") if path.stem not in {"auto", "toy"})
GPU = Device(0, "GPU-a", "NVIDIA A100-SXM4-80GB", 80.0)
AUTO = VramSettings(**yaml.safe_load((CARDS / "auto.yaml").read_text()))


def test_a_named_card_gives_its_total_less_its_margin() -> None:
    budget = find_budget(load_card("rtx3090"), GPU)
    assert budget.limit_gib == pytest.approx(23.65)
    assert (budget.card, budget.source) == ("rtx3090", "card rtx3090 (vram=rtx3090)")
    assert budget.message == ""


def test_an_explicit_budget_wins_over_card_and_gpu() -> None:
    for card in (load_card("t4"), AUTO):
        for gpu in (GPU, None):
            budget = find_budget(replace(card, budget_gib=6), gpu)
            assert (budget.limit_gib, budget.source) == (6.0, "vram.budget_gib=6")


def test_auto_is_this_gpu_less_five_percent() -> None:
    budget = find_budget(AUTO, GPU)
    assert budget.limit_gib == pytest.approx(76.0)
    assert budget.source == "this GPU NVIDIA A100-SXM4-80GB, 80.00 GiB less 5%"
    given = find_budget(replace(AUTO, margin_gib=1.5), GPU)
    assert (given.limit_gib, given.source[-12:]) == (78.5, "less 1.5 GiB")


def test_auto_without_a_gpu_simulates_the_fallback_card_and_says_so() -> None:
    budget = find_budget(replace(AUTO, fallback_card="t4"), None)
    assert budget.card == "t4"
    assert budget.limit_gib == pytest.approx(14.55)
    assert budget.context_gib == load_card("t4").context_gib
    assert "vram.fallback_card=t4" in budget.source
    assert "No GPU here: memory is simulated for the card t4" in budget.message


def test_a_card_larger_than_this_gpu_is_called_out() -> None:
    small = Device(0, "GPU-b", "NVIDIA GeForce RTX 4060", 8.0)
    message = find_budget(load_card("rtx3090"), small).message
    assert "at least what this GPU has (NVIDIA GeForce RTX 4060, 8.00 GiB)" in message


@pytest.mark.parametrize("value", [-1, 0, float("nan"), float("inf")])
def test_a_budget_that_is_not_positive_is_refused_by_name(value: float) -> None:
    expected = (
        f"vram.budget_gib must be positive but got {value}. "
        "Set it to your card's memory, e.g. vram=rtx3090."
    )
    with pytest.raises(SettingsError, match=f"^{re.escape(expected)}$"):
        find_budget(replace(AUTO, budget_gib=value), GPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_gib": 0.3}, "vram.budget_gib must be more than the CUDA context of 0.45 GiB"),
        ({"total_gib": -24.0}, "vram.total_gib must be positive but got -24.0"),
        ({"total_gib": None}, "vram.total_gib must be positive but got None"),
        ({"margin_gib": -1.0}, "vram.margin_gib must lie between 0 and vram.total_gib=24"),
        ({"margin_gib": 24.0}, "vram.margin_gib must lie between 0 and vram.total_gib=24"),
        ({"context_gib": -1.0}, "vram.context_gib cannot be negative but got -1"),
    ],
)
def test_other_values_that_cannot_work_are_refused_by_name(
    change: dict[str, float | None], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        find_budget(replace(load_card("rtx3090"), **change), GPU)  # type: ignore[arg-type]


def test_an_unknown_fallback_card_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"got 'rtx9999'\. Choose one of: .*rtx3090"):
        find_budget(replace(AUTO, fallback_card="rtx9999"), None)


@pytest.mark.parametrize("name", NAMES)
def test_every_card_file_makes_a_budget_that_its_vendor_would_recognise(name: str) -> None:
    card = load_card(name)
    budget = find_budget(card, None)
    vendor_gb = re.search(r"(\d+) GB", card.source)
    assert vendor_gb is not None and card.total_gib is not None
    assert card.card == name
    # Vendors' GB of board memory are 2**30 bytes; ECC and the driver take up to a tenth.
    assert 0.9 * int(vendor_gb[1]) <= card.total_gib <= int(vendor_gb[1])
    shared = "shared" in card.source  # with the CPU and its programs
    assert 0.05 <= (card.margin_gib or 0) <= (8.0 if shared else 1.0)
    assert 0.1 <= card.context_gib <= 0.8
    assert budget.limit_gib == pytest.approx(card.total_gib - (card.margin_gib or 0))


def test_a_budget_of_ones_own_is_not_called_a_card() -> None:
    budget = find_budget(replace(load_card("rtx3090"), budget_gib=0.8), None)
    assert budget.message == (
        "No GPU here: memory is simulated for a budget of 0.80 GiB, with the CUDA context of the "
        "card rtx3090."
    )
