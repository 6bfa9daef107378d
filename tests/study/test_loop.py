"""Whole studies over a fake executor, with the real Optuna storage and MLflow database."""

import io
import itertools
import math
import os
import shutil
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from sweeper.report.effects import strategy_changes
from sweeper.report.findings import Findings
from sweeper.study.bounds import proving_order
from sweeper.study.confirm import confirm, fresh_seeds
from sweeper.study.display import StudyDisplay
from sweeper.study.identity import identity
from sweeper.study.judge import interrupt, judge
from sweeper.study.lease import Lease
from sweeper.study.loop import StudyLoop
from sweeper.study.optuna_study import CellStudy
from sweeper.study.outcomes import outcome_of
from sweeper.study.trials import Trials
from sweeper.tracking import Tracker, read_study
from sweeper.tracking.outbox import Outbox
from sweeper.trial.folder import TrialFolder
from sweeper.trial.readings import MEASURED, MemoryReading
from sweeper.trial.record import ChildFacts, Ending, TrialFacts
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import StudyRecord
from tests.study.fakes import TableExecutor, trained
from tests.study.test_optuna_study import make_space
from tests.tracking.test_outbox import silent_server

BUDGET_GIB = 10.0
SPACE = make_space({"batch": (2, 4, 8, 16), "accumulate": (1, 2, 4), "amp": (False, True)})


def peak_gib(spec: TrialSpec) -> float:
    return spec.batch * (0.9 if spec.amp else 1.6) + (1.0 if spec.accumulate > 1 else 0.0)


def by_memory(spec: TrialSpec) -> ChildFacts:
    """Out of memory above the budget, else better the larger the effective batch."""
    if peak_gib(spec) > BUDGET_GIB:
        memory = MemoryReading(BUDGET_GIB - 0.1, "measured", "process")
        return ChildFacts(Ending.OUT_OF_MEMORY, "boom", memory=memory)
    score = spec.effective_batch / 100 + spec.batch / 1000
    return trained(peak_gib(spec), [score / 2, score])


class Study:
    """One study in a folder, to be run once or more."""

    def __init__(self, folder: Path, make_spec, sampler: str = "auto", rungs=(), share=False):
        self.folder, self._make_spec = folder, make_spec
        self.sampler, self.rungs, self.share = sampler, rungs, share
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.notes: list[str] = []
        self.lease: Lease | None = None
        self.fault = ""
        self.console = io.StringIO()

    def specs(self):
        specs = {}
        for cell in SPACE.cells:
            spec = self._make_spec(**dict(cell.params), limit_gib=BUDGET_GIB, study="s", epochs=6)
            reading = MemoryReading(peak_gib(spec), "simulated", "trace")
            specs[cell] = replace(spec, predicted=reading)
        return specs

    def open(self) -> CellStudy:
        url = f"sqlite:///{self.folder}/optuna.db"
        same = identity(SPACE, BUDGET_GIB, MEASURED)
        who = (self.lease.driver, self.lease.others) if self.lease else ()
        return CellStudy("s", SPACE, url, self.sampler, 1, BUDGET_GIB, same, *who)

    def order(self) -> list[int]:
        if self.sampler != "auto":
            return []
        return proving_order(list(self.specs().values()), measured=True)

    def outbox(self, uri: str | None = None, patience_s: float = math.inf) -> Outbox:
        def connect() -> Tracker:
            tracker = Tracker(uri or self.uri, "x", self.folder / "artifacts")
            leads = self.lease is None or self.lease.leads
            tracker.start_study(StudyRecord("s", BUDGET_GIB, id="one"), "", leads=leads)
            return tracker

        (self.folder / "trials").mkdir(exist_ok=True)
        return Outbox(connect, self.folder / "trials", self.notes.append, patience_s)

    def trials(self, executor: TableExecutor, outbox: Outbox, display: StudyDisplay) -> Trials:
        return Trials(self.folder / "trials", executor, outbox, display, measured=True)

    def loop(self, executor: TableExecutor, outbox: Outbox, display: StudyDisplay) -> StudyLoop:
        trials = self.trials(executor, outbox, display)
        given = self.order(), self.rungs, self.share
        return StudyLoop(self.open(), self.specs(), trials, outbox, display, *given)

    def abandon(self, executor: TableExecutor | None) -> None:
        """The first cell's trial, left as a parent leaves it that dies while the trial runs.

        With an executor its training has ended, but nobody has judged it.
        """
        opened, outbox = self.open(), self.outbox()
        trial, cell = opened.ask(SPACE.cells[0])
        folder = TrialFolder.of(self.folder / "trials", trial.number)
        folder.prepare(replace(self.specs()[cell], number=trial.number))
        outbox.start(folder.read_spec(), folder)
        outbox.drain()
        if executor is not None:
            executor.submit(folder, NoWatcher()).result()

    def run(self, executor: TableExecutor, n_trials: int = 99, outbox=None) -> bool:
        outbox = outbox or self.outbox()
        with StudyDisplay(Console(file=self.console, width=200)) as display:
            loop = self.loop(executor, outbox, display)
            try:
                done = loop.run(n_trials)
            except BaseException:
                with suppress(Exception):
                    outbox.drain()  # its thread would go on beside the next start
                raise
        self.fault = loop.fault
        if self.lease is None or self.lease.leads:
            outbox.finish_study(done)
        else:
            outbox.leave()
        return done

    def outcomes(self) -> dict[tuple, str]:
        stored = self.open().stored_trials()
        return {tuple(t.params.values()): outcome_of(t).value for t in stored if outcome_of(t)}


@pytest.fixture(autouse=True)
def _mlflow(tmp_path: Path, empty_mlflow: Path) -> None:
    shutil.copy(empty_mlflow, tmp_path)


@pytest.fixture
def study(tmp_path: Path, make_spec) -> Study:
    return Study(tmp_path, make_spec)


class TestLoop:
    def test_what_does_not_fit_is_proven_once(self, study: Study) -> None:
        executor = TableExecutor(by_memory)
        assert study.run(executor)
        outcomes = study.outcomes()
        assert len(outcomes) == 24
        infeasible = {k for k, v in outcomes.items() if v in {"out_of_memory", "implied"}}
        expected = {k for k in outcomes if k[0] * (0.9 if k[2] else 1.6) + (k[1] > 1) > BUDGET_GIB}
        assert infeasible == expected
        failed = [s for s in executor.ran if peak_gib(s) > BUDGET_GIB]
        assert [s.label for s in failed] == ["b8×a1", "b16×a1 amp"], "one per amp decides the rest"
        assert len(executor.ran) < 24

    def test_an_implied_cell_names_its_evidence(self, study: Study) -> None:
        study.run(TableExecutor(by_memory))
        record = read_study(study.uri, "x", "s")
        by_number = {t.number: t for t in record.trials}
        implied = [t for t in record.trials if t.outcome == "implied"]
        assert implied
        for trial in implied:
            proof = by_number[trial.implied_by]
            assert proof.outcome == "out_of_memory"
            assert proof.spec.batch <= trial.spec.batch

    def test_the_winner_fits(self, study: Study) -> None:
        study.run(TableExecutor(by_memory))
        (best,) = study.open().best()
        spec = {t.number: t.params for t in study.open().stored_trials()}[best.number]
        assert spec == {"batch": 4, "accumulate": 4, "amp": True} or spec["batch"] == 8

    def test_nothing_feasible_is_a_result_with_the_nearest_miss(self, study: Study) -> None:
        study.run(TableExecutor(lambda spec: trained(20.0 + spec.batch, [0.5])))
        opened = study.open()
        assert opened.best() == []
        assert "batch=2" in opened.nearest_miss() and "12.00 GiB over" in opened.nearest_miss()
        assert set(study.outcomes().values()) == {"over_budget", "implied"}

    def test_amp_that_is_refused_ends_its_cells_one_by_one_and_proves_nothing(self, study) -> None:
        def without_amp(spec: TrialSpec) -> ChildFacts:
            if not spec.amp:
                return by_memory(spec)
            memory = MemoryReading(BUDGET_GIB + 1, "measured", "process")
            return ChildFacts(Ending.AMP_REFUSED, "the check failed", memory=memory)

        study.run(TableExecutor(without_amp))
        refused = {k for k, outcome in study.outcomes().items() if outcome == "amp_refused"}
        assert refused == {k for k in study.outcomes() if k[2]} and len(refused) == 12
        assert study.console.getvalue().count(" amp_refused ") == 12
        assert "b8×a4 amp   amp_refused    the check failed: it would" in study.console.getvalue()

        findings = Findings(read_study(study.uri, "x", "s"))
        assert findings.tally.failed == 12 and not findings.unreadable
        shown = [*findings.ranked, *findings.front, *findings.infeasible]
        shown += [
            c for change in strategy_changes(findings.cells) for p in change.pairs for c in p
        ]
        assert shown and not any(cell.spec.amp for cell in shown)

        again = TableExecutor(without_amp)
        study.run(again)
        assert again.ran == [], "the card would refuse them again"

    @pytest.mark.parametrize("mended", [True, False])
    def test_three_crashes_alike_stop_it_and_run_again_after_the_others(
        self, study, mended: bool
    ) -> None:
        def broken(spec: TrialSpec) -> ChildFacts:
            return ChildFacts(Ending.ERROR, f"CUDA error: no kernel image for {spec.label}.")

        def then(spec: TrialSpec) -> ChildFacts:
            return broken(spec) if spec.label in crashed and not mended else by_memory(spec)

        first, second = TableExecutor(broken), TableExecutor(then)
        assert not study.run(first)
        assert "no kernel image for" in study.fault and "trials/0002/log.txt" in study.fault
        crashed = [s.label for s in first.ran]
        assert len(crashed) == 3

        assert study.run(second) and not study.fault, "three cells that crash block no study"
        findings = Findings(read_study(study.uri, "x", "s"))
        assert (findings.tally.trials, findings.tally.failed) == (24, 0 if mended else 3)
        if not mended:
            assert [s.label for s in second.ran[-3:]] == crashed

    def test_a_neighbour_stops_it_decides_nothing_and_what_it_disturbed_runs_again(
        self, study
    ) -> None:
        def crowded(spec: TrialSpec) -> ChildFacts:
            short = f"other processes hold {spec.batch} GiB"
            return ChildFacts(Ending.OUT_OF_MEMORY, "boom", shortfall=short)

        def then(spec: TrialSpec) -> ChildFacts:
            return crowded(spec) if spec.label in disturbed else by_memory(spec)

        first, second, third = (
            TableExecutor(crowded),
            TableExecutor(then),
            TableExecutor(by_memory),
        )
        assert not study.run(first)
        assert "other processes on the GPU" in study.fault and "hold" in study.fault
        disturbed = [s.label for s in first.ran]
        assert len(disturbed) == 3 and set(study.outcomes().values()) == {"disturbed"}

        assert not study.run(second), "three cells are open"
        assert [s.label for s in second.ran[:3]] == disturbed and len(second.ran) > 3
        again = [k for k, outcome in study.outcomes().items() if outcome == "disturbed"]
        assert len(study.outcomes()) == 24 and len(again) == 3

        assert study.run(third) and not study.fault
        assert {s.label for s in third.ran} <= set(disturbed)
        assert "disturbed" not in study.outcomes().values()

    def test_n_trials_is_a_total_over_starts_and_implied_cells_are_free(self, study) -> None:
        first, second = TableExecutor(by_memory), TableExecutor(by_memory)
        study.run(first, n_trials=5)
        study.run(second, n_trials=9)
        assert (len(first.ran), len(second.ran)) == (5, 4)
        cells = [(s.batch, s.accumulate, s.amp) for s in [*first.ran, *second.ran]]
        assert len(set(cells)) == 9

    def test_a_server_that_never_answers_delays_neither_slots_nor_a_stop(self, study) -> None:
        def stop_at_last(spec: TrialSpec) -> ChildFacts:
            if len(executor.ran) == 8:
                stopped_at.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGTERM)
            return by_memory(spec)

        executor, stopped_at = TableExecutor(stop_at_last), []
        with silent_server() as uri:
            assert not study.run(executor, outbox=study.outbox(uri, patience_s=1.0))
        assert time.monotonic() - stopped_at[0] < 8, "MLflow's own time-out is 10 s"
        assert len(executor.ran) == 8
        assert any("trials are not in MLflow yet" in note for note in study.notes)

    @pytest.mark.parametrize("sampler", ["tpe", "random"])
    def test_a_sampler_never_runs_what_is_decided(self, tmp_path, make_spec, sampler) -> None:
        study = Study(tmp_path, make_spec, sampler=sampler)
        executor = TableExecutor(by_memory)
        study.run(executor)
        assert len(study.outcomes()) == 24
        seen: dict[tuple, int] = {}
        for spec in executor.ran:
            key = (spec.amp, spec.accumulate > 1)
            assert spec.batch < seen.get(key, 99)
            if peak_gib(spec) > BUDGET_GIB:
                seen[key] = spec.batch

    def test_slots_are_kept_busy_without_a_barrier(self, study: Study) -> None:
        release = threading.Event()
        others = []

        def slow_first(spec: TrialSpec) -> ChildFacts:
            if not others:
                others.append(spec)
                release.wait(30)
            else:
                others.append(spec)
                if len(others) == 6:
                    release.set()
            return by_memory(spec)

        study.run(Threaded(slow_first, slots=2))
        assert release.is_set(), "the second slot waited for the first one"

    def test_a_stop_signal_finishes_writing_and_the_same_command_goes_on(self, study) -> None:
        def stop_in_third(spec: TrialSpec) -> ChildFacts:
            if len(first.ran) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return by_memory(spec)

        first = TableExecutor(stop_in_third)
        assert study.run(first) is False
        assert read_study(study.uri, "x", "s").trials[0].state != "running"
        second = TableExecutor(by_memory)
        assert study.run(second) is True
        ran = [(s.batch, s.accumulate, s.amp) for s in [*first.ran, *second.ran]]
        assert len(ran) == len(set(ran))
        assert len(study.outcomes()) == 24

    def test_a_second_signal_leaves_no_run_open(self, study: Study) -> None:
        interrupted = threading.Event()

        def stop_twice(spec: TrialSpec) -> ChildFacts:
            for _ in range(2):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                time.sleep(0.5)
            interrupted.wait(30)
            return by_memory(spec)

        outbox = study.outbox()
        with pytest.raises(KeyboardInterrupt):
            study.run(Threaded(stop_twice), outbox=outbox)
        outbox.finish_study(done=False)
        interrupted.set()
        (trial,) = read_study(study.uri, "x", "s").trials
        assert (trial.state, trial.reason) == ("interrupted", "the study was ended at once")
        assert TrialFolder.of(study.folder / "trials", 0).stop.exists(), "a job is not followed on"
        executor = TableExecutor(by_memory)
        assert study.run(executor) is True
        assert len(study.outcomes()) == 24 and "interrupted" not in study.outcomes().values()

    def test_a_trial_that_reached_the_disk_is_adopted_after_a_crash(self, study: Study) -> None:
        study.abandon(TableExecutor(by_memory))
        # The parent dies here: child.json is written; neither MLflow nor Optuna know.
        executor = TableExecutor(by_memory)
        study.run(executor)
        assert (2, 1, False) not in [(s.batch, s.accumulate, s.amp) for s in executor.ran]
        assert study.outcomes()[(2, 1, False)] == "complete"
        record = read_study(study.uri, "x", "s")
        assert [t.state for t in record.trials].count("running") == 0
        assert len(record.trials) == 24

    def test_what_is_recorded_is_not_recorded_again_when_optuna_hears_of_it(self, study) -> None:
        """The parent dies between its last two steps: MLflow knows, Optuna does not."""
        study.abandon(TableExecutor(by_memory))
        outbox = study.outbox()
        with StudyDisplay(Console(file=io.StringIO())) as display:
            trials = study.trials(TableExecutor(by_memory), outbox, display)
            spec = trials.folder(0).read_spec()
            trials.settle(spec, trials.left_behind(0))
        outbox.drain()
        run_id = trials.folder(0).read_run_id()
        client = MlflowClient(study.uri)
        ended, judged = client.get_run(run_id).info.end_time, trials.folder(0).judged_at
        study.run(TableExecutor(by_memory))
        assert study.outcomes()[(2, 1, False)] == "complete"
        assert client.get_run(run_id).info.end_time == ended
        assert len(client.get_metric_history(run_id, "map50")) == 1
        assert trials.folder(0).judged_at == judged

    def test_a_later_result_of_a_recorded_trial_is_sent_when_mlflow_is_back(self, study) -> None:
        study.abandon(None)
        outbox, dead = study.outbox(), study.outbox("http://127.0.0.1:9")
        with StudyDisplay(Console(file=io.StringIO())) as display:
            trials = study.trials(TableExecutor(by_memory), outbox, display)
            spec = trials.folder(0).read_spec()
            trials.settle(spec, interrupt("the study was ended at once"))
            outbox.drain()
            assert not outbox.waiting()
            result = judge(spec, TrialFacts(child=by_memory(spec)))
            study.trials(TableExecutor(by_memory), dead, display).settle(spec, result)
        dead.drain()
        assert dead.waiting() == [trials.folder(0)]
        study.run(TableExecutor(by_memory))
        (trial,) = [t for t in read_study(study.uri, "x", "s").trials if t.number == 0]
        assert (trial.state, trial.map50) == ("complete", result.map50)

    def test_a_trial_without_a_result_runs_again_and_its_run_is_killed(self, study) -> None:
        study.abandon(None)
        study.run(TableExecutor(by_memory))
        trials = read_study(study.uri, "x", "s").trials
        assert [t.outcome for t in trials].count("interrupted") == 1
        assert len(trials) == 25

    def test_confirmations_repeat_the_best_with_other_seeds_and_resume(self, study) -> None:
        study.run(TableExecutor(by_memory))
        numbers = [b.number for b in study.open().best(2)]
        executor = TableExecutor(by_memory)
        for _ in range(2):
            with StudyDisplay(Console(file=io.StringIO())) as display:
                trials = study.trials(executor, study.outbox(), display)
                assert confirm(numbers, [5, 6, 7], trials, display)
        ran = [(s.confirms, s.seed) for s in executor.ran]
        assert sorted(ran) == sorted(itertools.product(numbers, [5, 6, 7])), "the seeds pair"

    def test_fresh_seeds_are_those_of_no_cell(self, make_spec) -> None:
        specs = [make_spec(seed=seed) for seed in (0, 3, 1)]
        assert list(fresh_seeds(specs, 2)) == [4, 5]


class Threaded(TableExecutor):
    """Runs as many at once as it has slots."""

    def submit(self, folder: TrialFolder, watcher) -> Future[TrialFacts]:
        pool = self.__dict__.setdefault("pool", ThreadPoolExecutor(self.slots))
        return pool.submit(lambda: super(Threaded, self).submit(folder, watcher).result())


class NoWatcher:
    def on_progress(self, done: int, total: int) -> None: ...

    def on_epoch(self, report) -> bool:
        return False


class TestDeadTracking:
    def test_a_server_that_is_down_costs_no_record(self, study: Study, make_spec) -> None:
        dead = study.outbox("http://127.0.0.1:9")
        assert study.run(TableExecutor(by_memory), outbox=dead)
        assert len(study.outcomes()) == 24
        assert len([n for n in study.notes if "takes no records" in n]) == 1
        assert any("24 finished trials are not in MLflow" in n for n in study.notes)
        executor = TableExecutor(by_memory)
        study.run(executor)
        assert executor.ran == []
        trials = read_study(study.uri, "x", "s").trials
        assert sorted(t.number for t in trials) == list(range(24))
        assert not [t for t in trials if t.state == "running"]

    def test_a_run_that_someone_deleted_is_written_anew_and_blocks_none(self, study) -> None:
        executor = TableExecutor(by_memory)

        def delete_the_first(spec: TrialSpec) -> ChildFacts:
            if len(executor.ran) == 1:
                outbox.drain()
                run_id = (study.folder / "trials/0000/mlflow_run_id").read_text()
                MlflowClient(study.uri).delete_run(run_id)
            return by_memory(spec)

        executor.table, outbox = delete_the_first, study.outbox()
        assert study.run(executor, outbox=outbox)
        assert study.notes == []
        trials = read_study(study.uri, "x", "s").trials
        assert sorted(t.number for t in trials) == list(range(24))

    def test_a_repeated_attempt_is_sent_again(self, study: Study, make_spec) -> None:
        study.run(TableExecutor(by_memory), n_trials=1)
        folder = TrialFolder.of(study.folder / "trials", 0)
        outbox = study.outbox()
        assert not outbox.waiting()
        outbox.start(folder.read_spec(), folder)
        outbox.drain()
        assert outbox.waiting() == [folder]

    def test_a_server_that_goes_away_in_the_middle_gets_the_rest_later(self, study) -> None:
        outbox = study.outbox()
        executor = TableExecutor(by_memory)

        def die_at_ten(spec: TrialSpec) -> ChildFacts:
            if len(executor.ran) == 10:
                outbox.drain()
                outbox._tracker = None
                outbox._connect = lambda: Tracker("http://127.0.0.1:9", "x", study.folder)
            return by_memory(spec)

        executor.table = die_at_ten
        study.run(executor, outbox=outbox)
        before = read_study(study.uri, "x", "s").trials
        assert 0 < len(before) < 24
        study.run(TableExecutor(by_memory))
        trials = read_study(study.uri, "x", "s").trials
        assert sorted(t.number for t in trials) == list(range(24))
        assert not [t for t in trials if t.state == "running"]
