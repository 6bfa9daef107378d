"""From memory.allocator and the environment to what torch's allocator is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.compose import compose_settings
from sweeper.errors import SettingsError, StudyError
from sweeper.memory.cards import find_budget
from sweeper.memory.config import MemoryConfig
from sweeper.study.identity import identity
from sweeper.study.optuna_study import CellStudy
from sweeper.study.space import Cell, Space, plan_space
from sweeper.study.specs import SpecBuilder
from sweeper.trial.alloc_conf import EXPANDABLE, alloc_conf, is_expandable
from sweeper.trial.command import yolo_command
from sweeper.trial.readings import SIMULATED

OLD, NEW = "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"
ROUNDED = "roundup_power2_divisions:[256:1,512:2]"


@pytest.mark.parametrize(
    ("allocator", "environ", "told"),
    [
        ("default", {}, ""),
        ("expandable", {}, EXPANDABLE),
        ("default", {OLD: EXPANDABLE}, EXPANDABLE),
        ("default", {OLD: "backend:native", NEW: ROUNDED}, ROUNDED),
        ("expandable", {NEW: ROUNDED}, f"{ROUNDED},{EXPANDABLE}"),
        ("expandable", {NEW: f"expandable_segments:False,{ROUNDED}"}, f"{ROUNDED},{EXPANDABLE}"),
        ("expandable", {NEW: "expandable_segments : True"}, "expandable_segments : True"),
    ],
)
def test_the_setting_is_added_to_what_the_environment_says(
    allocator: str, environ: dict[str, str], told: str
) -> None:
    assert alloc_conf(allocator, environ) == told
    assert is_expandable(told) == ("expandable" in told)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (OLD, NEW):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_trial_its_prediction_and_its_command_have_the_allocator(
    bare, tiny_data: Path, tmp_path: Path
) -> None:
    asked = ["data=custom", f"data.yaml={tiny_data}", f"runs_dir={tmp_path}", "vram=t4"]
    specs = []
    for allocator in ("default", "expandable"):
        settings = compose_settings([*asked, f"memory.allocator={allocator}"])
        builder = SpecBuilder("s", find_budget(settings.vram, None), threads=1)
        specs.append(builder.build(settings, "x"))
    plain, expandable = specs
    assert yolo_command(plain).startswith("yolo detect train")
    assert yolo_command(expandable).startswith(f"PYTORCH_ALLOC_CONF={EXPANDABLE} yolo detect")
    configs = [MemoryConfig.of(spec) for spec in specs]
    assert [config.expandable for config in configs] == [False, True]
    assert configs[0].memory_class != configs[1].memory_class


@pytest.mark.parametrize(
    ("overrides", "environ"),
    [(["memory.allocator=expandable"], {}), ([], {OLD: "max_split_size_mb:512"})],
)
def test_a_study_goes_on_only_under_the_same_levers(
    bare, tmp_path: Path, overrides: list[str], environ: dict[str, str]
) -> None:
    def open_study(*overrides: str) -> CellStudy:
        cell = Cell((("batch", 4),), compose_settings(list(overrides)), "x")
        space = Space({"batch": (4,)}, (), (cell,))
        url = f"sqlite:///{tmp_path}/optuna.db"
        return CellStudy("s", space, url, "auto", 1, 24.0, identity(space, 24.0, SIMULATED))

    open_study()
    open_study("memory.checkpoint=none")
    with pytest.raises(StudyError, match=r"memory\.checkpoint: not set before, all now"):
        open_study("memory.checkpoint=all")
    with pytest.raises(StudyError, match=r"memory\.val_batch: not set before, 4 now"):
        open_study("memory.val_batch=4")
    with pytest.raises(StudyError, match=r"memory\.freeze: not set before, 3 now"):
        open_study("memory.freeze=3")
    for name, value in environ.items():
        bare.setenv(name, value)
    with pytest.raises(StudyError, match=r"PYTORCH_ALLOC_CONF: not set before, .* now"):
        open_study(*overrides)


def test_what_is_swept_belongs_to_the_space_and_not_to_the_rest_of_a_study(bare) -> None:
    def of(*overrides: str) -> dict[str, object]:
        space = plan_space(["vram=t4", "batch=4", "amp=true", *overrides])
        return identity(space, 24.0, SIMULATED)

    levers = ("memory.checkpoint=all,none", "memory.allocator=expandable,default")
    first, turned = of(*levers), of("memory.checkpoint=none,all", levers[1])
    assert first.pop("space.memory.checkpoint") == ["all", "none"]
    assert turned.pop("space.memory.checkpoint") == ["none", "all"]
    assert first == turned and not {"memory.checkpoint", NEW} & first.keys()
    swept = of("memory=checkpoint,baseline", "memory.allocator=expandable")
    assert (swept[NEW], "memory.checkpoint" in swept) == (EXPANDABLE, False)
    assert of("memory=checkpoint")["memory.checkpoint"] == "all"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["memory.checkpoint=all", "+train.extra.distill_model=m.pt"],
            r"train\.extra\.distill_model=m",
        ),
        (
            ["memory.checkpoint=all", "plan.verify=true", "plan.export=r.csv"],
            r"plan\.export=r\.csv has no column",
        ),
    ],
)
def test_what_cannot_go_with_recomputation_is_named(overrides: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        compose_settings(overrides)


def test_an_unknown_allocator_is_refused_as_typed() -> None:
    with pytest.raises(SettingsError, match=r"memory\.allocator must be one of .* but got slab"):
        compose_settings(["memory.allocator=slab"])
