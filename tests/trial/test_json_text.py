import json
import math

import pytest

from sweeper.errors import StudyError
from sweeper.trial.json_text import from_json, to_json
from sweeper.trial.readings import EpochReport, MemoryReading
from sweeper.trial.record import ChildFacts, Ending, Outcome, TrialResult
from sweeper.trial.spec import TrialSpec

EPOCH = EpochReport(1, 1.5, 0.1, 0.05, 1.0, 1.0, 2.0, 0.01)
READING = MemoryReading(3.5, "simulated", "trace", parts={"weights": 0.5})


def test_a_spec_survives_json(make_spec) -> None:
    for amp in (False, True, "bf16"):
        spec = make_spec(overrides=("batch=4",), predicted=READING, amp=amp)
        again = from_json(TrialSpec, to_json(spec), "here")
        assert again == spec and again.amp is spec.amp


@pytest.mark.parametrize(
    "record",
    [
        TrialResult(Outcome.OVER_BUDGET, "too much", 0.5, epochs=(EPOCH,), memory=READING),
        ChildFacts(Ending.DIVERGED, "nan", epochs=(EPOCH,), memory=READING, settings={"a": [1]}),
    ],
)
def test_a_record_survives_json_with_its_epochs_and_memory(record) -> None:
    assert from_json(type(record), to_json(record), "here") == record


def test_numbers_that_are_not_finite_survive() -> None:
    report = EpochReport(1, 1.0, math.nan, math.inf, 1.0, 1.0, 1.0, 0.1)
    back = from_json(EpochReport, to_json(report), "here")
    assert math.isnan(back.map50) and back.map50_95 == math.inf


def test_a_spec_of_version_0_1_is_read(make_spec) -> None:
    spec = make_spec(limit_gib=11.5)
    old = json.loads(to_json(spec)) | {"device": "cpu"}
    old["budget_gib"] = old.pop("limit_gib")
    assert from_json(TrialSpec, json.dumps(old), "here") == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"outcome": "splendid"}', "outcome"),
        ('{"outcome": "complete", "wall_time_s": "long"}', "wall_time_s"),
        ('{"outcome": "comp', "Unterminated"),
        ("[]", "list"),
    ],
)
def test_what_is_not_a_record_is_refused_with_what_to_do(text: str, said: str) -> None:
    with pytest.raises(StudyError, match=f"a/result.json cannot be read.*{said}.*study.name"):
        from_json(TrialResult, text, "a/result.json")
