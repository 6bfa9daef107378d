"""What a peak and its bound say about a budget, and about records that lack the bound."""

from __future__ import annotations

from dataclasses import replace

from sweeper.memory.verdict import Verdict, predicted_verdict, verdict
from sweeper.trial.json_text import from_json, to_json
from sweeper.trial.readings import MemoryReading
from sweeper.trial.spec import TrialSpec


def test_a_verdict_is_safe_only_with_the_bound_within_the_budget() -> None:
    assert [verdict(8.0, 9.0, limit) for limit in (9.0, 8.5, 8.0, 7.9)] == [
        Verdict.FITS,
        Verdict.TIGHT,
        Verdict.TIGHT,
        Verdict.NO,
    ]


def test_a_record_without_a_bound_is_read_and_taken_at_its_prediction(make_spec) -> None:
    spec = make_spec(predicted=MemoryReading(8.0, "simulated", "trace", peak_upper_gib=30.0))
    assert predicted_verdict(spec) is Verdict.TIGHT
    old = to_json(spec).replace(', "peak_upper_gib": 30.0', "").replace(', "images": null', "")
    assert "peak_upper_gib" not in old and "images" not in old
    read = from_json(TrialSpec, old, "spec.json")
    assert read == replace(spec, predicted=MemoryReading(8.0, "simulated", "trace"))
    assert predicted_verdict(read) is Verdict.FITS
    assert predicted_verdict(make_spec()) is None
