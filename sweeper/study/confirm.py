"""The best cells once more with other seeds, so that a lead can be told from noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sweeper.study.display import StudyDisplay
from sweeper.study.trials import Trials
from sweeper.trial.record import TrialResult
from sweeper.trial.repeats import repeat_number
from sweeper.trial.spec import TrialSpec
from sweeper.trial.study_record import RecordedTrial


def confirm(
    numbers: Sequence[int], seeds: Iterable[int], trials: Trials, display: StudyDisplay
) -> bool:
    """Run each trial of ``numbers`` again with each of the seeds; False when stopped.

    All get the same seeds, so that their differences pair. Confirmations that have ended already
    are kept: the call resumes.
    """
    todo = [spec for spec in _specs(numbers, seeds, trials) if not _ended(trials, spec)]
    display.start(len(todo))

    def ended(spec: TrialSpec, result: TrialResult) -> None:
        if result.paused:  # as far as the trial that it repeats
            trials.close(spec, result)

    return trials.run(lambda: todo.pop(0) if todo else None, ended)


def fresh_seeds(specs: Iterable[TrialSpec], count: int) -> range:
    """Seeds that no cell of the study has."""
    first = max(spec.seed for spec in specs) + 1
    return range(first, first + count)


def confirmed_unequally(trials: Iterable[RecordedTrial]) -> bool:
    """Whether cells were repeated, and not each as often, as where a confirmation was stopped."""
    repeats: defaultdict[int, int] = defaultdict(int)
    for trial in trials:
        if trial.spec.confirms is not None:
            repeats[trial.spec.confirms] += not (trial.outcome and trial.outcome.runs_again)
    return len(set(repeats.values())) > 1


def _specs(numbers: Sequence[int], seeds: Iterable[int], trials: Trials) -> Iterator[TrialSpec]:
    for repeat, seed in enumerate(seeds, 1):
        for number in numbers:
            original = trials.folder(number).read_spec()
            yield replace(
                original.from_the_start(),
                number=repeat_number(number, repeat),
                seed=seed,
                until=len(_end(trials, number).epochs),
                confirms=number,
            )


def _end(trials: Trials, number: int) -> TrialResult:
    result = trials.folder(number).read_result()
    assert result is not None, "only complete trials are repeated"
    return result


def _ended(trials: Trials, spec: TrialSpec) -> bool:
    """Whether it needs no run; a result that only its training had written is recorded now."""
    result = trials.left_behind(spec.number)
    if result is None or result.outcome.runs_again:
        return False
    if not trials.folder(spec.number).has_result:
        trials.settle(spec, result)
    return True
