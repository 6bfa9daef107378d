from pathlib import Path

import pytest

from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import ChildFacts, Ending, Outcome, TrialResult


@pytest.mark.parametrize(
    ("outcome", "ended"), [(Outcome.COMPLETE, True), (Outcome.INTERRUPTED, False)]
)
def test_an_interrupted_trial_has_not_ended(tmp_path: Path, outcome: Outcome, ended: bool) -> None:
    folder = TrialFolder.of(tmp_path, 7)
    assert not folder.ended and folder.path.name == "0007" and folder.number == 7
    folder.path.mkdir()
    folder.write_result(TrialResult(outcome))
    assert folder.ended is ended


def test_preparing_again_removes_what_an_earlier_attempt_left(tmp_path: Path, make_spec) -> None:
    folder = TrialFolder.of(tmp_path, 0)
    folder.prepare(make_spec())
    folder.write_child(ChildFacts(Ending.COMPLETE))
    folder.write_result(TrialResult(Outcome.COMPLETE))
    folder.prepare(make_spec(batch=2))
    assert folder.read_child() is None and folder.read_result() is None
    assert folder.read_spec().batch == 2


def test_numbers_beyond_four_digits_keep_their_order(tmp_path: Path, make_spec) -> None:
    for number in (1_000_001, 20_000, 3):
        TrialFolder.of(tmp_path, number).prepare(make_spec(number=number))
    (tmp_path / "notes").mkdir()
    assert [f.number for f in TrialFolder.all_of(tmp_path)] == [3, 20_000, 1_000_001]
    assert TrialFolder.claim_next(tmp_path).number == 1_000_002
