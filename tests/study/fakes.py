"""Tables in place of trainings, so that a whole study takes no time."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.executors import Watcher
from sweeper.executors.debug import DebugExecutor
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport, MemoryReading
from sweeper.trial.record import ChildFacts, Ending, TrialFacts
from sweeper.trial.spec import TrialSpec

Table = Callable[[TrialSpec], ChildFacts]


def epochs_of(curve: list[float]) -> tuple[EpochReport, ...]:
    return tuple(
        EpochReport(i, 1000.0 + i, m, m / 2, 1.0, 1.0, 1.0, 0.01, 1.0)
        for i, m in enumerate(curve, 1)
    )


def trained(peak_gib: float, curve: list[float]) -> ChildFacts:
    memory = MemoryReading(peak_gib, "measured", "process")
    return ChildFacts(Ending.COMPLETE, epochs=epochs_of(curve), memory=memory)


class TableExecutor(DebugExecutor):
    """Looks each spec up in a table.

    Attributes:
        ran: The specs that were run, in order.
    """

    def __init__(self, table: Table, slots: int = 1) -> None:
        super().__init__(self._look_up, slots)
        self.table = table
        self.ran: list[TrialSpec] = []

    def _look_up(self, folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        spec = folder.read_spec()
        self.ran.append(spec)
        facts = until_stopped(self.table(spec), watcher)
        folder.write_child(facts)
        return TrialFacts(child=facts, wall_time_s=1.0)


def until_stopped(facts: ChildFacts, watcher: Watcher) -> ChildFacts:
    """What is left of a training when the watcher stops it."""
    for i, report in enumerate(facts.epochs, 1):
        if watcher.on_epoch(report):
            return ChildFacts(Ending.STOPPED, epochs=facts.epochs[:i], memory=facts.memory)
    return facts
