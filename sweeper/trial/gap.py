"""How far one end lies below another, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeper.trial.curves import End


@dataclass(frozen=True, slots=True)
class Gap:
    """How far one mAP@0.5 ends below another: expected, at least, at most."""

    expected: float
    least: float
    most: float

    @classmethod
    def of(cls, lower: End, upper: End, sure: float) -> Gap:
        """The gap, so many standard deviations sure.

        Made of the intervals of both ends, which mAP of at least 0 cuts short (MOVER: Zou and
        Donner, Statistics in Medicine 27, 2008). The common slope moves both ends alike, so it
        makes the gap wider or narrower.
        """

        def points(shift: float) -> tuple[float, float, float]:
            (low, mid, high), (best, likely, worst) = (
                [min(math.exp(end.error + shift + k * sure * end.sd), 1.0) for k in (-1, 0, 1)]
                for end in (lower, upper)
            )
            expected = mid - likely
            least = expected - math.hypot(mid - low, worst - likely)
            return expected, least, expected + math.hypot(high - mid, likely - best)

        common = sure * upper.common_sd
        expected, least, most = zip(
            *(points(shift) for shift in (0.0, -common, common)), strict=True
        )
        return cls(expected[0], min(least), max(most))
