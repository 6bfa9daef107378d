"""Studies whose trials train in parts, over tables in place of trainings."""

import io
import os
import signal
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sweeper.executors import Watcher
from sweeper.study import loop, trials
from sweeper.study.confirm import confirm
from sweeper.study.display import StudyDisplay
from sweeper.tracking import read_study
from sweeper.trial.field import Standing
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import MemoryReading, SampledPeak
from sweeper.trial.record import ChildFacts, EndedBy, Ending, TrialFacts
from sweeper.trial.rungs import Judgement
from sweeper.trial.spec import TrialSpec
from tests.study.fakes import TableExecutor, epochs_of
from tests.study.test_loop import Study, _mlflow, peak_gib  # noqa: F401

EPOCHS = 20


def curve(spec: TrialSpec) -> list[float]:
    """Learning in optimizer steps: whoever accumulates learns more slowly."""
    steps = [epoch * 16 / spec.accumulate for epoch in range(1, EPOCHS + 1)]
    return [1 - (1 + s / 8) ** -1.2 for s in steps]


class PartsExecutor(TableExecutor):
    """Trains the epochs between two checkpoints, as a child does.

    Attributes:
        trained: The (first, last) epochs of every part that ran, by cell.
    """

    def __init__(self) -> None:
        super().__init__(lambda spec: ChildFacts(Ending.COMPLETE))
        self.trained: list[tuple[int, int, int]] = []

    def _look_up(self, folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        spec = folder.read_spec()
        self.ran.append(spec)
        until = spec.until or spec.epochs
        if spec.trained:
            assert folder.checkpoint(spec.trained).exists(), "nothing to go on from"
        self.trained.append((spec.number, spec.trained + 1, until))
        reports = epochs_of(curve(spec)[:until])
        for report in reports[spec.trained :]:
            watcher.on_epoch(report)
        if peak_gib(spec) > spec.limit_gib:
            return TrialFacts(child=ChildFacts(Ending.OUT_OF_MEMORY, "boom"))
        paused = until < spec.epochs
        if paused:
            folder.checkpoint(until).parent.mkdir(exist_ok=True)
            folder.checkpoint(until).write_text("state")
        memory = MemoryReading(peak_gib(spec), "measured", "process")
        facts = ChildFacts(Ending.COMPLETE, paused=paused, epochs=reports, memory=memory)
        folder.write_child(facts)
        return TrialFacts(child=facts, wall_time_s=float(until - spec.trained))


def better_half(standings: list[Standing]) -> Judgement:
    """A policy that is easy to foresee; the real one has its own tests."""
    ranked = sorted(standings, key=lambda s: (-s.curve[-1], s.number))
    half = ranked[: max(2, len(ranked) // 2)]
    out = {s.number: f"stopped after {len(s.curve)} epochs" for s in ranked if s not in half}
    return Judgement(tuple(s.number for s in half), out)


@pytest.fixture
def study(tmp_path: Path, make_spec, monkeypatch) -> Study:
    monkeypatch.setattr(loop, "judge_rung", better_half)
    return Study(tmp_path, lambda **kw: make_spec(**(kw | {"epochs": EPOCHS})), rungs=(5, 10))


def test_every_cell_trains_to_the_first_rung_and_what_goes_on_trains_nothing_twice(study) -> None:
    executor = PartsExecutor()
    assert study.run(executor)
    by_number: dict[int, list[tuple[int, int]]] = {}
    for number, first, last in executor.trained:
        by_number.setdefault(number, []).append((first, last))
    fitting = [parts for parts in by_number.values() if parts[0] == (1, 5)]
    assert len(by_number) == len({n for n, *_ in executor.trained})
    assert all(p in ([(1, 5)], [(1, 5), (6, 10)]) for p in fitting)
    assert any(len(p) == 2 for p in fitting) and any(len(p) == 1 for p in fitting)
    assert set(study.outcomes().values()) <= {"complete", "pruned", "implied", "out_of_memory"}
    assert len(study.outcomes()) == 24


def test_what_is_out_says_why_and_keeps_no_checkpoint(study) -> None:
    study.run(PartsExecutor())
    trials = read_study(study.uri, "x", "s").trials
    out = [t for t in trials if t.state == "pruned"]
    assert out and all("stopped after" in t.reason for t in out)
    for trial in trials:
        files = list((study.folder / f"trials/{trial.number:04d}/checkpoints").glob("*"))
        assert len(files) == (1 if trial.state == "complete" else 0)
    complete = [t for t in trials if t.state == "complete"]
    assert complete and all(t.result.paused for t in complete)
    assert {t.wall_time_s for t in complete} <= {5.0, 10.0}, "both parts count"


@pytest.mark.parametrize("at", [3, 12, 17])
def test_a_stop_anywhere_costs_at_most_the_running_part(study, at: int) -> None:
    whole, first = PartsExecutor(), PartsExecutor()
    look_up = first._look_up

    def stop(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        facts = look_up(folder, watcher)
        if len(first.ran) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return facts

    first._train = stop
    done = study.run(first)
    second = PartsExecutor()
    assert study.run(second)
    parts = [(n, a, b) for n, a, b in [*first.trained, *second.trained]]
    assert len(parts) == len(set(parts)), "an epoch was trained twice"
    assert (len(study.outcomes()) == 24 and not done) or at > len(first.trained)
    del whole


def test_a_part_that_was_killed_goes_on_from_the_rung_before(study) -> None:
    first = PartsExecutor()
    look_up = first._look_up

    def die(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        if folder.read_spec().trained:
            raise KeyboardInterrupt  # the parent is gone, and with it the child
        return look_up(folder, watcher)

    first._train = die
    with pytest.raises(KeyboardInterrupt):
        study.run(first)
    second = PartsExecutor()
    assert study.run(second)
    assert all(a == 6 for _, a, _ in second.trained)
    trials = read_study(study.uri, "x", "s").trials
    assert len(trials) == 24 and not [t for t in trials if t.state in {"running", "interrupted"}]


def test_a_part_that_was_cut_alone_goes_on_in_the_same_start(study) -> None:
    executor = PartsExecutor()
    look_up = executor._look_up
    cut: list[TrialSpec] = []

    def shut_down_once(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        if folder.read_spec().trained and not cut:
            cut.append(folder.read_spec())
            return TrialFacts(exit_code=-signal.SIGTERM)
        return look_up(folder, watcher)

    executor._train = shut_down_once
    assert study.run(executor) and cut
    assert (cut[0].number, 6, 10) in executor.trained
    trials = read_study(study.uri, "x", "s").trials
    assert not [t for t in trials if t.state in {"running", "interrupted"}]


def seen_by_nvml(folder: TrialFolder, facts: TrialFacts) -> TrialFacts:
    """The first part holds more than the second, as NVML sees it, and flushes its cache."""
    assert facts.child is not None and facts.child.memory is not None
    first = folder.read_spec().trained == 0
    memory = replace(facts.child.memory, alloc_retries=3 if first else 0)
    folder.write_child(child := replace(facts.child, memory=memory))
    seen = SampledPeak(memory.peak_gib + (0.4 if first else 0.1), "process", 9, 0.02, False, "")
    return replace(facts, child=child, sampled=seen)


def test_what_an_earlier_part_took_counts_also_after_a_stop(study) -> None:
    executor = PartsExecutor()
    look_up = executor._look_up

    def sample(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        facts = look_up(folder, watcher)
        if len(executor.trained) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        fits = facts.child is not None and facts.child.memory is not None
        return seen_by_nvml(folder, facts) if fits else facts

    executor._train = sample
    assert not study.run(executor)
    assert study.run(executor)
    trials = [t for t in read_study(study.uri, "x", "s").trials if t.map50 is not None]
    assert {t.result.trained for t in trials} == {5, 10}
    for trial in trials:
        assert trial.peak_gib == peak_gib(trial.spec) + 0.4
        assert trial.result.memory.alloc_retries == 3
        assert trial.wall_time_s == trial.result.trained


def test_confirmations_train_as_far_as_what_they_repeat(study) -> None:
    study.run(PartsExecutor())
    (best,) = study.open().best()
    executor = PartsExecutor()
    with StudyDisplay(Console(file=io.StringIO())) as display:
        trials = study.trials(executor, study.outbox(), display)
        assert confirm([best.number], [1, 2], trials, display)
        assert confirm([best.number], [1, 2], trials, display)
    repeated = len(TrialFolder.of(study.folder / "trials", best.number).read_result().epochs)
    assert [(a, b) for _, a, b in executor.trained] == [(1, repeated)] * 2
    first = TrialFolder.of(study.folder / "trials", executor.trained[0][0])
    (first.path / "result.json").unlink()  # as a kill between training and judgement leaves it
    with StudyDisplay(Console(file=io.StringIO())) as display:
        trials = study.trials(executor, study.outbox(), display)
        assert confirm([best.number], [1, 2], trials, display)
    assert first.has_result and len(executor.trained) == 2


def test_the_recommended_trial_is_finished_and_a_stop_on_the_way_loses_nothing(study) -> None:
    study.run(PartsExecutor())
    (best,) = study.open().best()
    folder = TrialFolder.of(study.folder / "trials", best.number)
    before = folder.read_result()
    rest = replace(folder.read_spec(), trained=before.trained, until=None, spent_s=10.0)

    def finish(executor: PartsExecutor) -> None:
        with StudyDisplay(Console(file=io.StringIO())) as display:
            study.trials(executor, study.outbox(), display).run_one(rest)

    for facts in (
        TrialFacts(ended_by=EndedBy.STUDY),
        TrialFacts(ended_by=EndedBy.TIMEOUT),
        TrialFacts(exit_code=-signal.SIGKILL),
    ):
        stopped = PartsExecutor()
        stopped._train = lambda folder, watcher, facts=facts: facts
        finish(stopped)
        assert folder.read_result() == before and folder.checkpoint(before.trained).exists()
    finish(PartsExecutor())
    result = folder.read_result()
    assert (result.trained, result.paused, result.wall_time_s) == (EPOCHS, False, 20.0)
    assert not list((folder.path / "checkpoints").glob("*"))


def test_a_trial_whose_job_is_taken_away_goes_on_from_its_last_checkpoint(study) -> None:
    """Twice in its first part, then in a later one; each job tells of its own epochs only."""
    executor = PartsExecutor()
    look_up, taken = executor._look_up, []

    def take_away(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        spec = folder.read_spec()
        if spec.number == 0 and spec.trained in {0, 2, 5} and spec.trained not in taken:
            taken.append(spec.trained)
            done = spec.trained + 2
            folder.checkpoint(done).parent.mkdir(exist_ok=True)
            folder.checkpoint(done).write_text("state")
            reports = epochs_of(curve(spec)[:done])[spec.trained :]
            return TrialFacts(epochs=reports, ended_by=EndedBy.HOST, wall_time_s=2.0)
        return look_up(folder, watcher)

    executor._train = take_away
    study.order = lambda: list(range(24))  # trial 0 fits, and is good enough to go on
    assert study.run(executor)
    parts = [(first, last) for number, first, last in executor.trained if number == 0]
    assert taken == [0, 2, 5] and parts == [(5, 5), (8, 10)]
    (trial,) = [t for t in read_study(study.uri, "x", "s").trials if t.number == 0]
    assert trial.wall_time_s == 3 * 2.0 + 1.0 + 3.0, "what was lost was spent, too"
    assert "interrupted" not in study.outcomes().values()


class Reattached(PartsExecutor):
    """Finds the job of a trial that an earlier driver submitted.

    Attributes:
        found: The numbers of these trials.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def reattach(self, folder: TrialFolder, watcher: Watcher):
        if folder.read_job() != "7":
            return None
        self.found.append(folder.number)
        return self.submit(folder, watcher)


def test_a_driver_that_comes_back_finds_its_jobs_again(study) -> None:
    study.abandon(None)
    folder = TrialFolder.of(study.folder / "trials", 0)
    folder.prepare(replace(folder.read_spec(), until=5))
    folder.write_job("7")
    executor = Reattached()
    assert study.run(executor)
    assert executor.trained[0] == (0, 1, 5) and executor.found == [0], "not begun anew"
    assert len(read_study(study.uri, "x", "s").trials) == 24
    assert "interrupted" not in study.outcomes().values()


class Jobs(PartsExecutor):
    """Finds again what a job has left, as executors of schedulers do."""

    def submit(self, folder: TrialFolder, watcher: Watcher):
        future = super().submit(folder, watcher)
        folder.write_job("7")
        folder.write_facts(future.result())
        return future

    def reattach(self, folder: TrialFolder, watcher: Watcher):
        facts = folder.read_facts() if folder.read_job() else None
        if facts is None:
            return None
        found: Future[TrialFacts] = Future()
        found.set_result(facts)
        return found


def test_a_job_that_crashed_is_heard_once_and_the_next_start_submits_another(study) -> None:
    study.run(Jobs())
    (best,) = study.open().best()
    folder = TrialFolder.of(study.folder / "trials", best.number)
    rest = folder.read_spec().going_on(folder.read_result(), until=None)

    def finish_and_repeat(executor: Jobs) -> None:
        outbox = study.outbox()
        with StudyDisplay(Console(file=io.StringIO())) as display:
            trials = study.trials(executor, outbox, display)
            trials.run_one(rest)
            assert confirm([best.number], [5], trials, display)
        outbox.drain()

    killed, well = Jobs(), Jobs()
    killed._train = lambda folder, watcher: TrialFacts(exit_code=-signal.SIGKILL)
    finish_and_repeat(killed)
    finish_and_repeat(well)
    assert len(well.trained) == 2
    assert folder.read_result().trained == EPOCHS and not folder.is_under_way


def test_a_trial_whose_jobs_are_taken_away_again_and_again_crashes(study, monkeypatch) -> None:
    monkeypatch.setattr(trials, "JOBS", 3)
    executor = PartsExecutor()
    look_up, lost = executor._look_up, []

    def take_away(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        if folder.number == 0:
            lost.append(folder.read_spec())
            return TrialFacts(ended_by=EndedBy.HOST)
        return look_up(folder, watcher)

    executor._train = take_away
    study.order = lambda: list(range(24))
    assert study.run(executor)
    (trial,) = [t for t in read_study(study.uri, "x", "s").trials if t.number == 0]
    assert (trial.outcome, len(lost)) == ("crashed", 3)
    assert "taken away 3 times" in trial.reason


def test_a_stop_after_a_lost_job_leaves_a_record(study) -> None:
    """The trial goes on from a checkpoint within its first part: there is no earlier one."""
    executor = PartsExecutor()
    look_up = executor._look_up

    def stop(folder: TrialFolder, watcher: Watcher) -> TrialFacts:
        spec = folder.read_spec()
        if spec.number == 0 and not spec.trained:
            folder.checkpoint(3).parent.mkdir(exist_ok=True)
            folder.checkpoint(3).write_text("state")
            return TrialFacts(epochs=epochs_of(curve(spec)[:3]), ended_by=EndedBy.HOST)
        if spec.number == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            return TrialFacts(ended_by=EndedBy.STUDY)
        return look_up(folder, watcher)

    executor._train = stop
    study.order = lambda: list(range(24))
    assert not study.run(executor)
    (trial,) = [t for t in read_study(study.uri, "x", "s").trials if t.number == 0]
    assert trial.outcome == "interrupted"


def test_a_confirmation_that_an_earlier_start_submitted_is_followed_again(study) -> None:
    study.run(PartsExecutor())
    first, second = PartsExecutor(), Reattached()
    with StudyDisplay(Console(file=io.StringIO())) as display:
        todo = study.trials(first, study.outbox(), display)
        assert confirm([0], [5], todo, display)
    (spec,) = first.ran
    folder = TrialFolder.of(study.folder / "trials", spec.number)
    (folder.path / "result.json").unlink()
    folder.prepare(spec)
    folder.write_job("7")
    with StudyDisplay(Console(file=io.StringIO())) as display:
        assert confirm([0], [5], study.trials(second, study.outbox(), display), display)
    assert second.ran == [spec] and second.found == [spec.number], "nothing was submitted"
