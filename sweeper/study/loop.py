"""The study loop: ask, run, tell, until nothing is left to run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from optuna.exceptions import UpdateFinishedTrialError

from sweeper.errors import StudyError
from sweeper.report.cells import cells_of
from sweeper.report.standing import standings_of
from sweeper.study.bounds import Bounds
from sweeper.study.crashes import Crashes, fault
from sweeper.study.display import StudyDisplay
from sweeper.study.judge import cover, imply, interrupt
from sweeper.study.optuna_study import Asked, CellStudy
from sweeper.study.outcomes import outcome_of
from sweeper.study.sharing import DECIDING, Sharing
from sweeper.study.space import Cell
from sweeper.study.stop import StopRequest
from sweeper.study.storage import readable_faults
from sweeper.study.trials import Trials
from sweeper.tracking.outbox import Outbox
from sweeper.trial.record import Outcome, TrialResult
from sweeper.trial.rungs import judge_rung
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import RecordedTrial

WAIT_S = 1.0  # between two looks at what other drivers do


class StudyLoop:
    """Runs the cells of a study, in the order given or as the sampler chooses.

    A cell that earlier trials already prove not to fit is recorded without running.

    Attributes:
        fault: What a person must mend before any more cells are tried; empty while all is well.
    """

    def __init__(
        self,
        study: CellStudy,
        specs: Mapping[Cell, TrialSpec],
        trials: Trials,
        outbox: Outbox,
        display: StudyDisplay,
        order: Sequence[int],
        rungs: Sequence[int] = (),
        share: bool = False,
    ) -> None:
        """Nothing runs yet.

        Args:
            study: The study.
            specs: What to run for each cell; numbers are filled in.
            trials: Runs and records them.
            outbox: MLflow's records, to be brought in order first.
            display: Takes the progress.
            order: Indices of all cells in the order to take them; empty leaves the choice to the
                sampler.
            rungs: Epochs at which the trials wait for each other and are judged; empty trains
                each to its end.
            share: Whether one trial decides for all cells that take the same optimizer steps;
                needs an order.
        """
        self._study, self._specs, self._trials = study, specs, trials
        self._outbox, self._display = outbox, display
        self._bounds, self._crashes, self.fault = Bounds(), Crashes(), ""
        self._disturbance = ""  # what it is that has disturbed a trial of this start
        self._sharing = Sharing(specs if share else {})
        cells = list(specs)
        # What crashed before may do so again, and comes last.
        crashed = {c: study.ended_before(dict(c.params), Outcome.CRASHED) for c in cells}
        in_turn = sorted((cells[i] for i in order), key=crashed.__getitem__)
        self._queue, self._by_order = deque(in_turn), bool(order)
        self._asked: dict[int, Asked] = {}
        self._waits = False
        self._rungs = rungs
        self._standing: dict[int, tuple[TrialSpec, TrialResult]] = {}
        self._going: deque[TrialSpec] = deque()

    def run(self, n_trials: int) -> bool:
        """Run until ``n_trials`` trials in all have run; False if a signal or a fault stopped it.

        Raises:
            StudyError: Records cannot be written, e.g. because the disk is full.
        """
        with readable_faults():
            left = min(n_trials - self._study.finished, len(self._study.open_cells))
            self._display.start(left, self._specs.values(), len(self._study.decided), self._rungs)
            self._reconcile()
            self._tell_implied()

            def next_spec() -> TrialSpec | None:
                if self.fault:
                    return None
                if self._study.shared:
                    self._follow()
                if self._taken() < n_trials and (spec := self._ask()):
                    return spec
                if not self._going and not self._trials.running:
                    self._judge()
                return self._going.popleft() if self._going else None

            done = self._trials.run(next_spec, self._ended)
            while done and not self.fault and self._study.elsewhere:
                done = self._wait() and self._trials.run(next_spec, self._ended)
            self.fault = self.fault or (self._disturbance if done else "")
            return done and not self.fault

    def _taken(self) -> int:
        """How many trials have run, or run, here and elsewhere."""
        elsewhere = self._study.elsewhere if self._study.shared else 0
        return self._study.finished + len(self._asked) + elsewhere

    def _wait(self) -> bool:
        """Give other drivers a moment to end their trials; False when a signal came."""
        if not self._waits:
            self._display.note("waiting for the trials that other drivers run")
        with StopRequest() as stop:
            time.sleep(WAIT_S)
        self._waits = self._study.shared = True
        return not stop.reason

    def _follow(self) -> None:
        """Take in what other drivers have come to, and the trials of those that are gone."""
        for stored in self._study.news():
            folder = self._trials.folder(stored.number)
            spec = folder.read_spec() if folder.exists else None
            outcome = outcome_of(stored)
            if outcome is None:
                with suppress(UpdateFinishedTrialError):  # another one has settled it
                    self._settle(self._study.reopen(stored), spec)
            elif spec is not None:
                if self._bounds.learn(spec, TrialResult(outcome)):
                    self._tell_implied()
                self._display.settled(spec, outcome, stored.value)
        if self._by_order:
            self._queue.extend(c for c in self._study.open_cells if c not in self._queue)

    def _ask(self) -> TrialSpec | None:
        """The next trial; None when every cell is taken."""
        asked = None
        while asked is None:
            cell = self._next_cell()
            if cell is None and (self._by_order or not self._study.open_cells):
                return None
            asked = self._study.ask(cell)
        trial, cell = asked
        spec = self._spec(trial, cell)
        self._asked[trial.number] = trial
        self._sharing.lead(spec)
        return replace(spec, until=self._rungs[0]) if self._rungs else spec

    def _next_cell(self) -> Cell | None:
        """The next open cell of the order for which no trial stands."""
        while self._queue and not self._study.is_open(self._queue[0]):
            self._queue.popleft()
        waiting = (c for c in self._queue if self._study.is_open(c))
        cell = next((c for c in waiting if not self._sharing.is_led(c)), None)
        if cell is not None:
            self._queue.remove(cell)
        return cell

    def _spec(self, trial: Asked, cell: Cell) -> TrialSpec:
        spec = replace(self._specs[cell], number=trial.number)
        if self._trials.folder(trial.number).exists:
            raise StudyError(
                f"{self._trials.folder(trial.number).path} holds a trial that study.storage does "
                "not know. Give another study.name, or move that folder away."
            )
        return spec

    def _judge(self) -> None:
        """Decide who goes on, once every trial has come to the same rung.

        After the last one, or when one is left, all that stand there are complete.
        """
        if not self._standing:
            return
        rung = max(len(result.epochs) for _, result in self._standing.values())
        behind = [s for s in self._standing.values() if len(s[1].epochs) < rung]
        if behind:  # a stop came between them
            self._continue(behind, rung)
            return
        later = [r for r in self._rungs if r > rung]
        judgement = judge_rung(
            standings_of(cells_of([RecordedTrial(s, r) for s, r in self._standing.values()]))
        )
        for number, reason in judgement.out.items():
            self._close(number, Outcome.PRUNED, reason)
        if later and len(self._standing) > 1:
            self._continue(list(self._standing.values()), later[0])
            return
        for number in list(self._standing):
            self._close(number, Outcome.COMPLETE, "")

    def _continue(self, standing: list[tuple[TrialSpec, TrialResult]], rung: int) -> None:
        """Let trials go on to a rung, from the checkpoints of where they stand."""
        for spec, result in standing:
            self._trials.folder(spec.number).drop_checkpoints(keep=result.trained)
            self._going.append(spec.going_on(result, rung))
            del self._standing[spec.number]

    def _close(self, number: int, outcome: Outcome, reason: str) -> None:
        spec, result = self._standing.pop(number)
        result = replace(result, outcome=outcome, reason=reason)
        self._trials.close(spec, result)
        self._tell(spec, result)

    def _ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """Keep a trial that has come to a rung; one whose part was cut stands where that began."""
        self._watch(spec, result)
        cut = spec.trained > 0 and result.outcome is Outcome.INTERRUPTED
        stands = self._trials.folder(spec.number).read_part() if cut else result
        if stands is not None and stands.paused:
            self._standing[spec.number] = (spec, stands)
        else:
            self._tell(spec, result)

    def _watch(self, spec: TrialSpec, result: TrialResult) -> None:
        """Note a fault where trials end as if it were not for their cells.

        A cell that ended so in an earlier start, too, is no sign of one.
        """
        log = self._trials.folder(spec.number).log
        if result.outcome is Outcome.DISTURBED:
            self._disturbance = fault(result, log)
        if self._study.ended_before(self._asked[spec.number].params, result.outcome):
            return
        if self._crashes.add(spec, result):
            self.fault = fault(result, log)

    def _tell(self, spec: TrialSpec, result: TrialResult) -> None:
        """Tell Optuna last: what it holds as finished needs no second look."""
        self._study.tell(self._asked.pop(spec.number), result)
        if self._bounds.learn(spec, result):
            self._tell_implied()
        self._share(spec, result.outcome)

    def _tell_implied(self) -> None:
        """Record every open cell that is proven not to fit, without running it."""
        for cell in self._study.open_cells:
            proof = self._bounds.implied_by(self._specs[cell])
            if proof is not None:
                self._decide(cell, imply(proof))

    def _share(self, spec: TrialSpec, outcome: Outcome) -> None:
        """Let a trial decide for the cells that it stands for, or one of them take over.

        They wait for one that was cut or disturbed: its cell runs again, and this study does not
        end without it. A crash may be the cell's own, and shall not keep it from its answer.
        """
        if outcome in DECIDING:
            for cell in self._sharing.led_by(spec):
                if self._study.is_open(cell):
                    self._decide(cell, cover(self._specs[cell], spec))
        elif outcome not in {Outcome.INTERRUPTED, Outcome.DISTURBED}:
            self._sharing.give_up(spec)

    def _decide(self, cell: Cell, result: TrialResult) -> None:
        """Record a cell without running it."""
        asked = self._study.ask(cell)
        if asked is not None:
            trial, _ = asked
            self._trials.decide(self._spec(trial, cell), result)
            self._study.tell(trial, result)

    def _reconcile(self) -> None:
        """Settle what a study which ended hard left open, and learn from what it proved.

        A trial whose training had ended is adopted; any other is recorded as interrupted, and
        its cell runs again.
        """
        decided: list[tuple[TrialSpec, Outcome]] = []
        for stored in self._study.stored_trials():
            folder = self._trials.folder(stored.number)
            spec = folder.read_spec() if folder.exists else None
            outcome = outcome_of(stored)
            if outcome is None and self._study.runs_elsewhere(stored):
                continue
            if outcome is None:
                outcome = self._settle(self._study.reopen(stored), spec)
            elif spec is not None:
                self._bounds.learn(spec, TrialResult(outcome))
                self._display.settled(spec, outcome, stored.value)
            if spec is not None and outcome in DECIDING:
                decided.append((spec, outcome))
        if not self._study.shared:
            self._outbox.close_orphans()
            self._outbox.send_waiting()
        for spec, outcome in decided:
            self._share(spec, outcome)

    def _settle(self, trial: Asked, spec: TrialSpec | None) -> Outcome | None:
        """Finish a trial that was left running, or take it up where its last part ended.

        Returns:
            The outcome; None where the trial goes on.
        """
        if spec is not None and self._trials.reattach(spec):
            self._asked[trial.number] = trial
            self._sharing.lead(spec)
            self._display.note(f"trial {trial.number} of an earlier start: its job goes on")
            return None
        result = self._trials.left_behind(trial.number)
        undecided = not self._trials.folder(trial.number).has_result
        if spec is not None and result is not None and result.paused and undecided:
            self._asked[trial.number] = trial
            self._standing[trial.number] = (spec, result)
            self._sharing.lead(spec)
            self._display.note(
                f"trial {trial.number} of an earlier start: goes on after "
                f"{len(result.epochs)} of {spec.epochs} epochs"
            )
            return None
        if spec is not None:
            result = result or interrupt("the study ended while it was running")
            if undecided:  # else MLflow has it, or `send_waiting` sends it
                self._trials.settle(spec, result)
            self._bounds.learn(spec, result)
        result = result or interrupt("the study ended before it was running")
        self._study.tell(trial, result)
        self._display.note(f"trial {trial.number} of an earlier start: {result.outcome.value}")
        return result.outcome
