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
        Donner, Statistics in Medicine 27, 2008). The common slope moves both ends the same way,
        each by as much as it may be wrong there.
        """

        def points(common: int) -> tuple[float, float, float]:
            (low, mid, high), (best, likely, worst) = (
                [
                    end.error_at(sure * (common * end.common_sd + own * end.sd))
                    for own in (-1, 0, 1)
                ]
                for end in (lower, upper)
            )
            expected = mid - likely
            least = expected - math.hypot(mid - low, worst - likely)
            return expected, least, expected + math.hypot(high - mid, likely - best)

        expected, least, most = zip(*map(points, (0, -1, 1)), strict=True)
        return cls(expected[0], min(least), max(most))
