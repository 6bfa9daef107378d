"""What each of Ultralytics' optimizers holds per parameter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Tensors of the parameter's size: `states` between steps, `temporaries` inside one.

    A fused one counts every parameter's steps on the device.
    """

    states: int
    temporaries: int
    fused: bool = False


# Counted in torch.optim's `_multi_tensor_*` functions and in ultralytics.optim.muon, with momentum
# as Ultralytics sets it. MuSGD's second buffer is for matrices only: nearly all of the weights.
# Ultralytics takes the fused kernels of Adam and AdamW, which need no temporaries.
OPTIMIZERS = {
    "SGD": Optimizer(states=1, temporaries=1),
    "Adam": Optimizer(states=2, temporaries=0, fused=True),
    "AdamW": Optimizer(states=2, temporaries=0, fused=True),
    "Adamax": Optimizer(states=2, temporaries=1),
    "NAdam": Optimizer(states=2, temporaries=1),
    "RAdam": Optimizer(states=2, temporaries=2),
    "RMSprop": Optimizer(states=2, temporaries=1),
    "MuSGD": Optimizer(states=2, temporaries=3),
}


def find_optimizer(name: str) -> Optimizer:
    """Look an optimizer up as Ultralytics does, case ignored.

    "auto" is AdamW, Ultralytics' choice up to 10,000 iterations; its choice beyond, MuSGD, holds
    as much between steps.

    Raises:
        ValueError: Ultralytics has no optimizer of that name.
    """
    known = {key.lower(): value for key, value in OPTIMIZERS.items()} | {
        "auto": OPTIMIZERS["AdamW"]
    }
    found = known.get(str(name).lower())
    if found is None:
        raise ValueError(
            f"optimizer={name} is unknown. Use one of {', '.join(OPTIMIZERS)} or auto."
        )
    return found
