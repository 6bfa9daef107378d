"""Does a study stay fast when it grows? 10,000 instant trials through everything but training.

    python benchmarks/bench_scale.py [TRIALS] [STORAGE]

``STORAGE`` is a URL for Optuna, e.g. of an empty PostgreSQL database; an SQLite file without.

The real space, Optuna storage, frontier, trial folders, MLflow database and report; in place of a
child process a function that answers at once.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sweeper.config.compose import compose_settings
from sweeper.executors import Watcher
from sweeper.executors.debug import DebugExecutor
from sweeper.report.publish import publish
from sweeper.study.display import StudyDisplay
from sweeper.study.loop import StudyLoop
from sweeper.study.optuna_study import CellStudy
from sweeper.study.space import Cell, Space
from sweeper.study.trials import Trials
from sweeper.tracking import Tracker
from sweeper.tracking.outbox import Outbox
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import EpochReport, MemoryReading
from sweeper.trial.record import ChildFacts, Ending, TrialFacts, TrialResult
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_folder import StudyFolder
from sweeper.trial.study_record import StudyRecord

BATCHES, ACCUMULATES, AMPS = tuple(range(1, 51)), tuple(range(1, 101)), (False, True)


def instant(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
    """One epoch that takes no time."""
    batch = folder.read_spec().batch
    epoch = EpochReport(1, time.time(), batch / 100, 0.1, 1.0, 1.0, 1.0, 0.01)
    watcher.on_epoch(epoch)
    memory = MemoryReading(batch / 10, "simulated", "trace")
    child = ChildFacts(Ending.COMPLETE, epochs=(epoch,), memory=memory)
    return TrialFacts(child=child, wall_time_s=1.0)


class Clock(StudyDisplay):
    """A silent display that notes when each trial ends."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.ends = [time.perf_counter()]

    def trial_finished(self, spec: TrialSpec, result: TrialResult) -> None:
        self.ends.append(time.perf_counter())


def specs(count: int) -> dict[Cell, TrialSpec]:
    """One spec per cell of batch x accumulate x amp."""
    settings = compose_settings([])
    base = TrialSpec(
        study="scale",
        number=0,
        strategy="x",
        batch=1,
        accumulate=1,
        amp=False,
        model="yolo11n",
        model_file="yolo11n.yaml",
        data="digits",
        data_yaml="data.yaml",
        nc=10,
        boxes_per_image=3.0,
        imgsz=160,
        epochs=1,
        optimizer="SGD",
        seed=0,
        limit_gib=1e9,
    )
    found = {}
    for batch in BATCHES:
        for accumulate in ACCUMULATES:
            for amp in AMPS:
                params = (("batch", batch), ("accumulate", accumulate), ("amp", amp))
                cell = Cell(params, settings, "x")
                found[cell] = replace(base, batch=batch, accumulate=accumulate, amp=amp)
                if len(found) == count:
                    return found
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    cells = specs(count)
    dimensions = {"batch": BATCHES, "accumulate": ACCUMULATES, "amp": AMPS}
    space = Space(dimensions, (), tuple(cells))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder}/mlflow.db"
        home = StudyFolder(folder / "scale")
        record = home.write_start(
            StudyRecord("scale", 1e9, tracking_uri=uri, experiment="scale", id="scale")
        )

        def connect() -> Tracker:
            tracker = Tracker(uri, "scale", folder / "artifacts")
            tracker.start_study(record, "")
            return tracker

        url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder}/optuna.db"
        study = CellStudy("scale", space, url, "grid", 0, 1e9, {})
        clock = Clock()
        outbox = Outbox(connect, home.trials, print)
        trials = Trials(home.trials, DebugExecutor(instant), outbox, clock, measured=True)
        loop = StudyLoop(study, cells, trials, outbox, clock, range(count))
        loop.run(count)
        durations = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
        tenth = max(1, count // 10)
        first, last = (statistics.median(d) for d in (durations[1:tenth], durations[-tenth:]))
        outbox.finish_study(done=True)
        settings = compose_settings([f"runs_dir={folder}", "tracking.experiment=scale"])
        started = time.perf_counter()
        lines = publish(settings, "scale").path.read_text().count("\n")
        report_s = time.perf_counter() - started
    print(f"{count} trials, one run; median of the first and of the last {tenth}:")
    print(f"  ask + run + log + tell   {first * 1e3:.1f} ms, then {last * 1e3:.1f} ms per trial")
    print(f"  ratio                    {last / first:.2f} (aim <= 1.5)")
    print(f"  report with its plots    {report_s:.1f} s, {lines} lines (aim <= 10 s)")


if __name__ == "__main__":
    main()
