"""How far a deployment is, and about how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from sweeper.numbers import duration

Say = Callable[[str], None]


class Progress:
    """Says each step with the formats that are done and the time left, by the mean of those."""

    def __init__(self, total: int, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock; ``total`` formats are to be exported and measured."""
        self._total, self._say, self._clock = total, say, clock
        self._done, self._started = 0, clock()
        self._last = self._started

    def step(self, text: str) -> None:
        """Say what a format under way has come to."""
        self._say(f"{text} ({self._done} of {self._total} done{self._left()})")

    def done(self, text: str) -> None:
        """Say how a format ended."""
        self._done, self._last = self._done + 1, self._clock()
        self.step(text)

    def _left(self) -> str:
        if not 0 < self._done < self._total:
            return ""
        mean = (self._last - self._started) / self._done
        left = mean * (self._total - self._done) - (self._clock() - self._last)
        return f", about {duration(max(left, 1.0))} left"
