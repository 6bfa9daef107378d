"""What a study asks of its folder and its data set before it goes on."""

from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.errors import StudyError
from sweeper.study.earlier import require_same_data
from sweeper.trial.spec import DatasetFacts
from sweeper.trial.study_folder import StudyFolder

FACTS = DatasetFacts("0123abcd", images=60, boxes=145, val_images=15)


@pytest.fixture
def folder(make_spec, tmp_path: Path) -> StudyFolder:
    """A study of one trial, number 0."""
    folder = StudyFolder(tmp_path / "mine")
    folder.trial(0).prepare(make_spec(study="mine", data="digits", dataset=FACTS))
    return folder


@pytest.mark.parametrize("facts", [FACTS, replace(FACTS, unlabelled=3), None])
def test_a_study_goes_on_with_its_data_set(folder: StudyFolder, make_spec, facts) -> None:
    assert require_same_data(folder, [0], [make_spec(data="digits", dataset=facts)]) == ""


def test_a_study_does_not_go_on_with_other_images(folder: StudyFolder, make_spec) -> None:
    fewer = replace(FACTS, digest="4567ef", images=10, boxes=20)
    said = (
        "data=digits has 10 training images with 20 boxes, 15 validation images now; when trial 0 "
        "of study.name=mine ran, it had 60 training images with 145 boxes, 15 validation images"
    )
    with pytest.raises(StudyError, match=said):
        require_same_data(folder, [0], [make_spec(data="digits", dataset=fewer)])


def test_other_labels_in_the_same_number_are_said(folder: StudyFolder, make_spec) -> None:
    other = make_spec(data="digits", dataset=replace(FACTS, digest="4567ef"))
    assert "caution: data=digits is not quite" in require_same_data(folder, [0], [other])
    assert not require_same_data(folder, [], [other]), "nothing was trained yet"
    assert not require_same_data(folder, [0], [replace(other, data="coco8")])
