"""Synthetic studies whose truth is known, to stress a policy beyond the curves that exist."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

KINDS = ("tie", "small wins", "large wins", "hard tie", "hard, small wins")

# Seconds for 40 epochs on an idle core: the table of docs/benchmarks.md; amp is estimated.
IDLE_S = {(2, 1): 376, (4, 1): 296, (8, 1): 243, (2, 4): 307, (4, 4): 253, (8, 4): 227}
AMP_TIME = 0.93


@dataclass(frozen=True, slots=True)
class Run:
    """The whole run of one cell with one seed."""

    batch: int
    accumulate: int
    amp: bool
    seed: int
    map50: tuple[float, ...]
    epoch_s: float

    @property
    def cell(self) -> tuple[int, int, bool]:
        """What the seeds of a cell share."""
        return self.batch, self.accumulate, self.amp

    @property
    def effective(self) -> int:
        """Images per optimizer step."""
        return self.batch * self.accumulate

    @property
    def label(self) -> str:
        """The cell as people say it."""
        return f"b{self.batch}×a{self.accumulate}" + (" amp" if self.amp else "")


def idle_epoch_s(batch: int, accumulate: int, amp: bool) -> float:
    """Time of one epoch with its validation, when the machine does nothing else."""
    return IDLE_S[batch, accumulate] * (AMP_TIME if amp else 1.0) / 40


def make_world(kind: str, index: int, epochs: int = 40, seeds: int = 3) -> list[Run]:
    """The 12 cells of the demo's space in a world of its own, over seeds.

    Learning waits for a delay that grows with the effective batch, then the error falls as a power
    of the optimizer's progress down to a floor, a little more as the learning rate decays.
    """
    rng = random.Random(f"{kind} {index}")
    hard = kind.startswith("hard")
    power, floor = rng.uniform(1.2, 2.2), rng.uniform(0.3, 0.6) if hard else 0.0
    if hard:
        power *= 0.8
    wait, delay = rng.uniform(1.0, 2.0), rng.uniform(0.15, 0.5)
    half, slower = rng.uniform(1.2, 2.5), rng.uniform(0.0, 0.15)
    gap = rng.uniform(0.02, 0.1) if "wins" in kind else 0.0
    if kind == "small wins" and index % 2:  # by steps that are missing, not by a floor
        slower, gap = rng.uniform(0.3, 0.6), 0.0
    amp_bias = rng.gauss(0, 0.03)
    runs = []
    for (batch, accumulate), _ in IDLE_S.items():
        steps = math.log2(batch * accumulate / 2)  # 0 to 4
        own = rng.gauss(0, 0.05)
        for amp in (False, True):
            extra = 0.0
            if "small wins" in kind:
                extra = gap * steps / 4
            elif kind == "large wins":  # BatchNorm over few images
                extra = gap * (3 - math.log2(batch)) / 2
            for seed in range(seeds):
                lasting = math.exp(rng.gauss(0, 0.15) + own + (amp_bias if amp else 0))
                begins = wait * 2 ** (delay * steps) + rng.gauss(0, 0.4)
                pace = half * 2 ** (slower * steps) * math.exp(rng.gauss(0, 0.08))
                wiggle, curve = 0.0, []
                for epoch in range(1, epochs + 1):
                    wiggle = 0.4 * wiggle + rng.gauss(0, 0.22)
                    progress = max(epoch - begins, 0) / pace
                    falling = (1 + progress) ** -power * lasting
                    falling *= 1 - 0.4 * (epoch / epochs) ** 3
                    loud = math.exp(wiggle * (1 - 0.6 * epoch / epochs) * (progress > 0))
                    error = floor + extra + (1 - floor - extra) * falling * loud
                    if hard:  # what cannot be learned scatters less, but does
                        error *= math.exp(0.08 * wiggle)
                    curve.append(round(min(max(1 - error, 0.0), 0.998), 4))
                seconds = idle_epoch_s(batch, accumulate, amp)
                runs.append(Run(batch, accumulate, amp, seed, tuple(curve), seconds))
    return runs
