"""What counts as the same memory."""

from __future__ import annotations

from dataclasses import replace

from sweeper.memory.config import MemoryConfig


def test_equal_memory_means_an_equal_config(make_spec) -> None:
    spec = make_spec(accumulate=2)
    learning = replace(spec, accumulate=64, seed=3, epochs=9, limit_gib=1.0)
    assert MemoryConfig.of(spec) == MemoryConfig.of(learning)
    assert MemoryConfig.of(spec) != MemoryConfig.of(replace(spec, accumulate=1))
    for change in ({"batch": 8}, {"amp": True}, {"imgsz": 96}, {"optimizer": "AdamW"}, {"nc": 3}):
        assert MemoryConfig.of(spec) != MemoryConfig.of(replace(spec, **change))
    assert MemoryConfig.of(spec) != MemoryConfig.of(replace(spec, boxes_per_image=9.0))


def test_a_memory_class_leaves_out_the_batch_alone(make_spec) -> None:
    config = MemoryConfig.of(make_spec(batch=4))
    assert config.memory_class == config.with_batch(16, 1, fullest_image=9).memory_class
    assert config.memory_class != config.with_batch(4, 2).memory_class


def test_configs_of_one_model_classes_and_precision_share_a_trace(make_spec) -> None:
    config = MemoryConfig.of(make_spec())
    assert config.trace_key == replace(config, batch=9, imgsz=640, optimizer="Adam").trace_key
    halves = [replace(config, amp=amp).trace_key for amp in (True, "bf16")]
    assert halves[0] == halves[1]
    for change in ({"model": "yolo11s.yaml"}, {"nc": 3}, {"amp": True}, {"freeze": 3}):
        assert config.trace_key != replace(config, **change).trace_key
