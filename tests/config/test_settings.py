from pathlib import Path

import pytest

from sweeper.config.compose import CONF_DIR, compose_settings
from sweeper.config.validation import ultralytics_defaults
from sweeper.errors import SettingsError

GROUPS = ("data", "model", "memory", "train", "vram", "study", "executor", "tracking")
GROUPS += ("plan", "report", "deploy")
FILES = [(p.parent.name, p.stem) for g in GROUPS for p in sorted((CONF_DIR / g).glob("*.yaml"))]
NEEDS = {"data=custom": ["data.yaml=x.yaml"], "model=custom": ["model.file=x.yaml"]}


@pytest.mark.parametrize(("group", "option"), FILES)
def test_every_file_of_every_group_composes(group: str, option: str) -> None:
    override = f"{group}={option}"
    settings = compose_settings([override, *NEEDS.get(override, [])])
    assert settings.batch >= 1


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_file_says_how_it_is_used(path: Path) -> None:
    assert any(line.startswith("# ") for line in path.read_text().splitlines()[:3])


def test_the_article_is_pinned() -> None:
    article = compose_settings(["experiment=article"])
    assert (article.data.name, article.train.imgsz, article.train.epochs) == ("coco128", 640, 100)
    assert (article.vram.budget_gib, article.train.save_period) == (24.0, 10)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("baseline", (16, 1, False)),
        ("small_batch", (4, 1, False)),
        ("accumulate", (4, 4, False)),
        ("amp", (16, 1, True)),
        ("accumulate_amp", (4, 4, True)),
    ],
)
def test_a_memory_strategy_sets_the_three_keys_at_top_level(memory: str, expected) -> None:
    s = compose_settings([f"memory={memory}"])
    assert (s.batch, s.accumulate, s.amp) == expected


@pytest.mark.parametrize(("typed", "amp"), [("fp16", True), ("bf16", "bf16"), ("false", False)])
def test_fp16_is_another_word_for_true(typed: str, amp: bool | str) -> None:
    assert compose_settings([f"amp={typed}"]).amp == amp


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch=0", "batch must be at least 1 but got 0"),
        ("batch=many", "batch=many"),
        ("batchh=4", "batchh"),
        ("amp=half", "amp must be false, true, fp16 or bf16 but got half"),
        ("amp=[true]", "amp must be false, true, fp16 or bf16 but got"),
        ("memory.val_batch=0", "memory.val_batch must be at least 1 but got 0"),
        ("memory.freeze=-1", "memory.freeze must be at least 0 but got -1"),
        (
            "memory.freeze=3 +train.extra.freeze=[1]",
            r"train\.extra\.freeze=\[1\] cannot go with memory\.freeze=3",
        ),
        ("train.epochs=-1", "train.epochs must be at least 1 but got -1"),
        ("train.rect=true", "train.rect=true cannot go with accumulate=4"),
        ("train.optimizer=auto", "train.optimizer must be one of SGD"),
        ("+train.extra.mosiac=0", "train.extra.mosiac is not an argument of Ultralytics"),
        ("+train.extra.batch=2", "train.extra.batch cannot be set here"),
        ("+train.extra.fraction=0.1", "train.extra.fraction cannot be set: it shrinks"),
        ("+train.extra.multi_scale=0.5", "train.extra.multi_scale cannot be set: every batch"),
        ("study.sampler=best", "study.sampler must be one of auto"),
        (
            "study.sampler=tpe study.share=true",
            "study.share=true cannot go with study.sampler=tpe",
        ),
        ("report.format=pdf", "report.format must be one of markdown, html but got pdf"),
        ("deploy.formats=[onnxx]", "deploy.formats must be one of torchscript, onnx.*got onnxx"),
        ("deploy.batch=1", "deploy.batch must be at least 2 but got 1"),
        ("model=custom", "model.file is not set"),
        ("train.lr_scaling=log", "train.lr_scaling must be one of none, sqrt, linear but got log"),
        ("train.lr0_batch=0", "train.lr0_batch must be at least 1 but got 0"),
        ("model=yolo99", "yolo99"),
    ],
)
def test_a_bad_value_is_named_as_typed(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        compose_settings(override.split())


@pytest.mark.parametrize(
    ("rule", "optimizer", "lr0"),
    [
        ("none", "AdamW", 0.003),
        ("sqrt", "AdamW", 0.006),
        ("linear", "AdamW", 0.012),
        ("none", "SGD", 0.003),
        ("sqrt", "SGD", 0.0015),  # the summed gradient is 4 times as large
        ("linear", "SGD", 0.003),
    ],
)
def test_the_learning_rate_follows_the_effective_batch(
    rule: str, optimizer: str, lr0: float
) -> None:
    cell = ["batch=8", "accumulate=4", f"train.optimizer={optimizer}"]
    scaled = [f"train.lr_scaling={rule}", "train.lr0=0.003", "train.lr0_batch=8"]
    assert compose_settings([*cell, *scaled]).train_args()["lr0"] == pytest.approx(lr0)


def test_a_rule_is_refused_for_an_optimizer_it_is_not_known_for() -> None:
    with pytest.raises(SettingsError, match=r"not known to hold for train\.optimizer=MuSGD"):
        compose_settings(["train.optimizer=MuSGD", "train.lr_scaling=sqrt"])


def test_every_train_argument_is_one_of_ultralytics() -> None:
    arguments = compose_settings(["+train.extra.mosaic=0.5"]).train_args()
    assert arguments["mosaic"] == 0.5
    assert arguments.keys() <= ultralytics_defaults().keys()


def test_a_pretrained_model_is_its_checkpoint() -> None:
    assert compose_settings(["model=yolo11s"]).model.source == "yolo11s.yaml"
    assert (
        compose_settings(["model=yolo11s", "model.pretrained=true"]).model.source == "yolo11s.pt"
    )
