from pathlib import Path

from sweeper.trial.folder import TrialFolder
from sweeper.trial.record import ChildFacts, Ending, Outcome, TrialFacts, TrialResult


def test_a_folder_is_named_after_its_number(tmp_path: Path) -> None:
    folder = TrialFolder.of(tmp_path, 7)
    assert folder.path.name == "0007" and folder.number == 7


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


def test_a_job_elsewhere_takes_along_and_brings_back_what_later_parts_need(
    tmp_path: Path, make_spec
) -> None:
    folder = TrialFolder.of(tmp_path, 0)
    folder.prepare(make_spec(trained=1))
    (folder.path / "checkpoints").mkdir()
    for file in (folder.log, folder.checkpoint(1), folder.checkpoint(2), folder.events):
        file.touch()
    assert folder.taken_along == [folder.log, folder.checkpoint(1)]
    folder.write_facts(TrialFacts())
    back = [str(file.relative_to(folder.path)) for file in folder.brought_back]
    assert back == ["checkpoints/0002.pt", "log.txt", "facts.json"]
    folder.prepare(make_spec())
    assert folder.taken_along == []
