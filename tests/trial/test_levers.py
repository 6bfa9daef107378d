"""The levers: one entry each, whatever they are kept in."""

from __future__ import annotations

from dataclasses import fields, replace

from sweeper.config.compose import compose_settings
from sweeper.config.settings import MemorySettings
from sweeper.memory.config import MemoryConfig
from sweeper.trial.alloc_conf import EXPANDABLE
from sweeper.trial.levers import LEVERS, in_words, places, pulled


def test_every_key_under_memory_is_a_lever_that_is_left_alone_by_default(make_spec) -> None:
    assert {f.name for f in fields(MemorySettings)} == set(LEVERS)
    spec = make_spec()
    for source in (MemorySettings(), compose_settings([]).memory, spec, MemoryConfig.of(spec)):
        assert pulled(source) == {} and set(places(source)) == {0}


def test_a_cell_is_called_by_the_levers_that_it_pulls(make_spec) -> None:
    asked = ["batch=16", "accumulate=1", "amp=true"]
    levers = ["memory.checkpoint=all", "memory.allocator=expandable"]
    spec = make_spec(batch=16, amp=True, checkpoint="all", alloc_conf=EXPANDABLE)
    label = "b16×a1 amp checkpoint=all allocator=expandable"
    assert spec.label == compose_settings([*asked, *levers]).label == label
    assert replace(spec, checkpoint="none", alloc_conf="").label == "b16×a1 amp"
    assert pulled(spec) == pulled(MemoryConfig.of(spec))
    assert in_words(pulled(spec)) in label
