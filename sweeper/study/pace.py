"""How long a study still takes at most, at the pace so far."""

from __future__ import annotations

import math

from sweeper.config.settings import Settings
from sweeper.trial.readings import EpochReport
from sweeper.trial.spec import TrialSpec


class Pace:
    """Counts epochs: those that trials may still train, and what each has taken.

    It is a bound, because trials that are stopped, or decided by others, train fewer.
    """

    def __init__(self, after: int = 0) -> None:
        """No trial runs yet.

        Args:
            after: Epochs that follow the trials of the search.
        """
        self._after, self._each = after, 0
        self._trained: dict[int, int] = {}  # of the trials that have not ended
        self._running: set[int] = set()
        self._slots, self._epochs, self._spent_s = 1, 0, 0.0

    def expect(self, trials: int, each: int) -> None:
        """Begin the search, or what follows it: so many trials of at most ``each`` epochs.

        ``each`` is 0 where it is that of the trials before, or the first one's.
        """
        if self._each:
            self._after = max(0, self._after - trials * (each or self._each))
        self._each = each or self._each

    def start(self, spec: TrialSpec) -> None:
        """A trial begins, or goes on."""
        self._each = self._each or spec.until or spec.epochs
        self._trained[spec.number] = spec.trained

    def epoch(self, number: int, report: EpochReport) -> None:
        """A trial has trained an epoch."""
        self._trained[number] = report.epoch
        self._running.add(number)
        self._slots = max(self._slots, len(self._running))
        if report.epoch_s is not None:
            self._epochs, self._spent_s = self._epochs + 1, self._spent_s + report.epoch_s

    def end(self, number: int, paused: bool = False) -> None:
        """A trial has ended, or waits where it is."""
        self._running.discard(number)
        if not paused:
            self._trained.pop(number, None)

    def left_s(self, trials: int) -> float:
        """Seconds that the trials which have not ended, and what follows, take at most.

        Nothing while no epoch tells.
        """
        if not self._epochs:
            return 0.0
        behind = [max(0, self._each - trained) for trained in list(self._trained.values())]
        waiting = max(0, trials - len(behind))
        epochs = sum(behind) + waiting * self._each + self._after
        longest = self._each if waiting else max(behind, default=0)
        return max(epochs / self._slots, longest) * self._spent_s / self._epochs

    def in_words(self, trials: int) -> str:
        """``at most 12 min left at this pace``; empty while it is not known."""
        minutes = math.ceil(self.left_s(trials) / 60)
        hours = f"{minutes // 60} h {minutes % 60:02d} min"
        span = f"{minutes} min" if minutes < 60 else hours
        return f"at most {span} left at this pace" if minutes else ""


def epochs_after_search(settings: Settings) -> int:
    """What repetitions and the end of the winner's run come to."""
    confirm, epochs = settings.study.confirm, settings.train.epochs
    judged = settings.rungs[-1] if settings.rungs else epochs
    end = epochs if settings.study.finish and settings.rungs else 0
    return confirm.top * confirm.seeds * judged + end
