from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sweeper.config.compose import compose_settings, register_schema
from sweeper.config.conf_dir import CONF_DIR
from sweeper.errors import SettingsError
from sweeper.study.space import Space, resolve_space
from tests.forks import Commands

DEFAULTS = {"batch": "2,4,8,16", "accumulate": "1,2,4", "amp": "false,true"}


def space(*arguments: str, defaults: dict[str, str] = DEFAULTS) -> Space:
    register_schema()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(arguments), RunMode.MULTIRUN)
        return resolve_space(loader, config, list(arguments), defaults)


def memory(s: Space) -> list[tuple[int, int, bool]]:
    return [(c.settings.batch, c.settings.accumulate, c.settings.amp) for c in s.cells]


def test_a_key_on_the_command_line_replaces_its_default() -> None:
    s = space("batch=2,4,8", "accumulate=8,4,2")
    assert s.dimensions == {
        "batch": (2, 4, 8),
        "accumulate": (8, 4, 2),
        "amp": (False, True),
    }
    assert len(s.cells) == 18
    assert s.describe() == "amp=false,true batch=2,4,8 accumulate=8,4,2 (18 cells)"


def test_a_fixed_key_leaves_the_space() -> None:
    s = space("batch=2,4", "accumulate=2", "amp=false", "train.epochs=1")
    assert memory(s) == [(2, 2, False), (4, 2, False)]
    assert {c.settings.train.epochs for c in s.cells} == {1}
    assert s.cells[0].overrides == ("batch=2",)


def test_cells_are_named_by_their_autocast() -> None:
    s = space("batch=2", "accumulate=4", "amp=false,fp16,bf16")
    assert [c.strategy for c in s.cells] == ["b2×a4", "b2×a4 amp", "b2×a4 bf16"]


def test_memory_strategies_take_the_place_of_their_three_keys() -> None:
    s = space("memory=baseline,accumulate_amp")
    assert memory(s) == [(16, 1, False), (4, 4, True)]
    assert [c.strategy for c in s.cells] == ["baseline", "accumulate_amp"]


def test_a_named_key_goes_on_top_of_the_memory_strategy() -> None:
    s = space("memory=baseline,accumulate", "amp=false,true")
    assert memory(s) == [(16, 1, False), (16, 1, True), (4, 4, False), (4, 4, True)]


def test_any_key_and_any_group_can_be_swept() -> None:
    s = space("model=yolo11n,yolo11s", "seed=range(0,2)", "memory=accumulate", "train.lr0=0.1")
    assert [(c.settings.model.name, c.settings.seed) for c in s.cells] == [
        ("yolo11n", 0),
        ("yolo11n", 1),
        ("yolo11s", 0),
        ("yolo11s", 1),
    ]
    assert memory(s)[0] == (4, 4, False)


def test_a_cell_is_what_hydra_composes_for_its_overrides() -> None:
    s = space(
        "data=digits,coco8",
        "memory=baseline,accumulate",
        "data.imgsz=320,640",
        "vram=t4",
        "+train.extra.mosaic=0,0.5",
        "train.optimizer=SGD,AdamW",
    )
    assert len(s.cells) == 32
    for cell in s.cells[::3]:
        assert cell.settings == compose_settings([*s.fixed, *cell.overrides])


def test_choice_and_range_are_lists() -> None:
    s = space("batch=choice(2,8)", "accumulate=range(1,4)", "amp=true")
    assert s.dimensions == {"batch": (2, 8), "accumulate": (1, 2, 3)}


def test_an_interval_has_no_cells() -> None:
    with pytest.raises(SettingsError, match=r"train\.lr0=interval\(0\.1,0\.2\) has no cells"):
        space("train.lr0=interval(0.1,0.2)")


def test_the_effective_batch_selects_cells() -> None:
    s = space("study.effective_batch=16", "amp=false")
    assert memory(s) == [(4, 4, False), (8, 2, False), (16, 1, False)]
    with pytest.raises(
        SettingsError, match=r"study\.effective_batch=7 leaves no cell: .* It gives \d+, "
    ):
        space("study.effective_batch=7")


def test_one_bad_cell_is_found_before_anything_runs() -> None:
    with pytest.raises(SettingsError, match="batch must be at least 1 but got 0"):
        space("batch=2,0")
    with pytest.raises(SettingsError, match="batch=many is no whole number"):
        space("batch=2,many")


def test_the_digest_is_of_what_a_trial_is_not_of_how_the_study_is_run() -> None:
    same = {
        space("batch=2,4", *more).digest()
        for more in ([], ["study.n_trials=3"], ["executor.slots=2"], ["runs_dir=elsewhere"])
    }
    assert len(same) == 1
    sixteen = space("batch=2,4", "accumulate=4,8", "study.effective_batch=16")
    assert (
        sixteen.digest()
        != space("batch=2,4", "accumulate=4,8", "study.effective_batch=8").digest()
    )
    assert space("batch=2,4", "train.epochs=9").digest() not in same
    assert space("batch=2,8").digest() not in same


def test_two_words_for_one_kind_of_amp_are_one_cell() -> None:
    s = space("batch=2", "accumulate=1", "amp=true,fp16,off,bf16")
    assert memory(s) == [(2, 1, True), (2, 1, False), (2, 1, "bf16")]
    assert s.dimensions["amp"] == (True, False, "bf16")


def test_an_unknown_choice_in_a_sweep_is_answered_with_the_known_ones(
    command: Commands, tmp_path: Path
) -> None:
    done = command(tmp_path, "-m", "data=digits,foo")
    assert done.code == 1
    assert done.err.startswith("error: data=foo is not in conf/data. Choose one of: coco128,")
