"""Packed tensors come back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sweeper.training.packing import pack, unpack


def test_a_tree_of_tensors_comes_back_from_a_file(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "model": {"weight": torch.randn(3, 2, 2).transpose(0, 1), "steps": torch.tensor(7)},
        "state": {0: {"half": torch.randn(5).half()}, 1: {"none": torch.empty(0)}},
        "groups": [{"betas": (0.9, 0.999), "params": [0, 1], "lr": 0.1, "empty": ()}],
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "bytes": torch.arange(9, dtype=torch.uint8),
    }
    torch.save(pack(tree), tmp_path / "tree.pt")
    back = unpack(torch.load(tmp_path / "tree.pt", weights_only=True))
    torch.testing.assert_close(back["model"], tree["model"], rtol=0, atol=0)
    torch.testing.assert_close(back["state"], tree["state"], rtol=0, atol=0)
    torch.testing.assert_close(back["last"], tree["last"], rtol=0, atol=0)
    assert back["last"].stride() == tree["last"].stride()
    assert back["groups"] == tree["groups"]
    assert back["bytes"].tolist() == list(range(9))
    weight = back["model"]["weight"]
    assert weight.untyped_storage().nbytes() == weight.nbytes, "it keeps no other alive"
