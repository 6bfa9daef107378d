from pathlib import Path

import pytest

from sweeper.config.arguments import argument_defaults
from sweeper.config.compose import compose_settings
from sweeper.config.conf_dir import CONF_DIR
from sweeper.config.slips import explain_number
from sweeper.errors import SettingsError

GROUPS = ("data", "model", "memory", "train", "vram", "study", "executor", "tracking")
GROUPS += ("plan", "report", "studies", "deploy")
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
        ("batch=-1", "There is no AutoBatch here: python -m sweeper.plan says which batches fit"),
        ("vram=8", r"vram=8 is no card .* For 8 GiB: vram\.budget_gib=8"),
        ("vram=nocard", r"vram=nocard is not in conf/vram\. .*Or any size: vram\.budget_gib="),
        (
            "deploy.formats=onnx,openvino",
            r"is a list and needs brackets: 'deploy\.formats=\[onnx,",
        ),
        ("batch=many", "batch=many is no whole number"),
        ("batch=4.5", "batch=4.5 is no whole number"),
        ("batch=2-8", "batch=2-8 is no whole number. .* with commas: batch=2,4,8"),
        ("batch=3-8", "batch=3,6,8"),
        ("vram.budget_gib=8GB", r"is no number\. Type it without a unit: vram\.budget_gib=8\."),
        ("vram.budget_gib=8192MB", r"is no number\.$"),
        ("train.lr0=1/10", r"is no number\.$"),
        ("vram=rtx", r"is not in conf/vram\. (?!.* or vram=.* or )"),
        ("vram=rtx4060ti", "Did you mean vram=rtx4060ti_16 or vram=rtx4060ti_8"),
        ("batch=null", "batch=null cannot be"),
        ("train.lr0=much", "train.lr0=much is no number"),
        ("study.finish=maybe", "study.finish=maybe is neither true nor false"),
        (
            "deploy.formats=onnx",
            r"deploy\.formats is a list, also of one, e\.g\. 'deploy\.formats=\[onnx,openvino\]'",
        ),
        ("batchh=4", "batchh"),
        ("amp=half", r"amp must be false, true, fp16 or bf16 but got half\. Try amp=true\."),
        ("amp=fasle", r"but got fasle\. Try amp=false\."),
        (
            "amp=[true]",
            r"amp=\[true\] is a list\. Several values are typed .*: python -m sweeper -m amp=true",
        ),
        ("memory.val_batch=0", "memory.val_batch must be at least 1 but got 0"),
        ("memory.freeze=-1", "memory.freeze must be at least 0 but got -1"),
        (
            "memory.freeze=3 +train.extra.freeze=[1]",
            r"train\.extra\.freeze=\[1\] cannot go with memory\.freeze=3",
        ),
        ("train.epochs=-1", "train.epochs must be at least 1 but got -1"),
        ("train.rect=true", "train.rect=true cannot go with accumulate=4"),
        ("train.optimizer=auto", "train.optimizer must be one of SGD"),
        ("+train.extra.mosiac=0", "not an argument .* Did you mean train.extra.mosaic?"),
        ("+train.extra.batch=2", "train.extra.batch cannot be set here: it is batch="),
        ("+train.extra.lr0=2", r"train.extra.lr0 cannot be set here: it is train\.lr0="),
        ("+train.extra.plots=true", "plots cannot be set here: every trial sets it itself"),
        ("+train.extra.fraction=0.1", "train.extra.fraction cannot be set: it shrinks"),
        ("+train.extra.multi_scale=0.5", "train.extra.multi_scale cannot be set: every batch"),
        ("study.sampler=best", "study.sampler must be one of auto"),
        (
            "study.sampler=tpe study.share=true",
            "study.share=true cannot go with study.sampler=tpe",
        ),
        ("study.register=a/b study.keep_best=true", "study.register must be a model's name .*a/b"),
        ("study.register=digits", "study.register=digits needs the winner's weights"),
        ("report.format=pdf", "report.format must be one of markdown, html but got pdf"),
        ("report.format=htlm", r"but got htlm\. Did you mean html\?"),
        ("deploy.formats=[onnxx]", "deploy.formats must be one of torchscript, onnx.*got onnxx"),
        ("deploy.batch=1", "deploy.batch must be at least 2 but got 1"),
        ("model=custom", "model.file is not set"),
        ("train.lr_scaling=log", "train.lr_scaling must be one of none, sqrt, linear but got log"),
        ("train.lr0_batch=0", "train.lr0_batch must be at least 1 but got 0"),
        ("model=yolo99", "yolo99"),
        ("seed=1099511627776", "seed must lie between 0 and .* but got 1099511627776"),
        ("train.momentum=nan", "train.momentum must lie between 0 and 0.9999 but got nan"),
        ("train.momentum=-5", "train.momentum must lie between"),
        ("train.lrf=nan", "train.lrf must lie between 0 and 1 but got nan"),
        ("train.lr0=1e30", "train.lr0 must lie between 0 and 1 but got 1e.30"),
        ("train.weight_decay=-1", "train.weight_decay must lie between"),
        ("train.warmup_epochs=-1", "train.warmup_epochs must lie between"),
        ("train.workers=1000", "train.workers must lie between 0 and 256 but got 1000"),
        ("data.imgsz=1000000", "data.imgsz must lie between 32 and 16384 but got 1000000"),
        ("data.digits.seed=-1", "data.digits.seed must lie between"),
        ("executor.slots=true", "executor.slots must be auto or at least 1 but got True"),
        ("executor.ray.gpus=0.5", "executor.ray.gpus must be 0 or 1 but got 0.5: a trial trains"),
        ("executor.ray.cpus=0", "executor.ray.cpus must be at least 1 but got 0"),
        ("+train.extra.mosaic=abc", "train.extra.mosaic must be a number from 0 to 1 but got abc"),
        ("+train.extra.degrees=nan", "train.extra.degrees must be a number but got nan"),
        ("+train.extra.cos_lr=2", "train.extra.cos_lr must be true or false but got 2"),
        ("+train.extra.mask_ratio=0.5", "train.extra.mask_ratio must be a whole number"),
        ("+train.extra.auto_augment=3", "train.extra.auto_augment must be a word but got 3"),
        ("+train.extra.compile=true", "train.extra.compile cannot be set: compiled kernels"),
        ("data.augment={mosaic:foo}", "data.augment.mosaic must be a number from 0 to 1"),
        ("+train.extra.box=null", "train.extra.box must be a number but got None"),
        ("study.name=.", "study.name must be a folder name .* but got \\."),
        ("study.name=..", "study.name must be a folder name .* but got \\.\\."),
        ("runs_dir=", "runs_dir is empty"),
        ("tracking.uri=garbage", "tracking.uri must be a URI, .* but got garbage"),
        ("runs_dir=a=b", "in quotes: 'key=\"value\"'"),
        ("data.yaml=mine.yaml", "data.yaml=mine.yaml needs data=custom: without it"),
        ("runs_dir=ü", "in quotes: 'key=\"value\"'"),
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
    assert arguments.keys() <= argument_defaults().keys()


def test_what_must_be_quoted_is_taken_in_quotes() -> None:
    assert compose_settings(['runs_dir="中文 ü=b"']).runs_dir == "中文 ü=b"


@pytest.mark.parametrize(
    ("path", "title"),
    [("sets/raccoon/data.yaml", "raccoon"), ("sets/cars.yaml", "cars"), (None, "digits")],
)
def test_a_data_set_goes_by_its_own_name(path: str | None, title: str) -> None:
    overrides = ["data=custom", f"data.yaml={path}"] if path else []
    assert compose_settings(overrides).data.title == title


def test_a_pretrained_model_is_its_checkpoint() -> None:
    assert compose_settings(["model=yolo11s"]).model.source == "yolo11s.yaml"
    assert (
        compose_settings(["model=yolo11s", "model.pretrained=true"]).model.source == "yolo11s.pt"
    )


def test_a_number_where_a_group_wants_a_name_is_answered_with_the_nearest_one() -> None:
    hydras = ValueError("Config group override must be a string or a list. Got int")
    said = explain_number(hydras, ["batch=4", "vram=4060"])
    assert said.startswith(
        "vram=4060 is not in conf/vram. Did you mean vram=rtx4060 or "
        "vram=rtx4060ti_16 or vram=rtx4060ti_8?"
    )
    assert "For 12.5 GiB: vram.budget_gib=12.5" in explain_number(hydras, ["vram=12.5"])
    assert "For 24 GiB: vram.budget_gib=24" in explain_number(hydras, ["vram=rtx3090,24"])
    with pytest.raises(ValueError, match="another fault"):
        explain_number(ValueError("another fault"), ["vram=4060"])


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["batch", "=", "4"], "batch is not key=value. Type e.g. batch=2,4"),
        (["batch=2,,4"], "batch=2,,4 is not key=value. .*on either side"),
        (["batch=2,", "4"], "batch=2, ends with a comma: between values .* without spaces"),
        (["--html"], "--html: keys are typed without dashes, key=VALUE, .*report.format=html"),
        (["--mosaic=0"], r"without dashes, \+train\.extra\.mosaic=VALUE"),
        (["experiment=null"], "experiment=null is not in conf/experiment. .* Or leave it out."),
        (["+data=null"], "data=null is not in conf/data. Choose one of"),
        (["--epochs", "9"], "--epochs: keys are typed without dashes, train.epochs=VALUE"),
        (["--batch-size=4"], "--batch-size=4: keys are typed without dashes, batch=VALUE"),
        (["data=null"], "data=null is not in conf/data. Choose one of: .*, digits.$"),
        (["model="], "model= is not in conf/model. Choose one of: .*, yolo11x.$"),
        (["format=html"], "format is an unknown key. Did you mean .*report.format?"),
        (["mosaic=0"], r"mosaic is an unknown key\. .* mosaic is \+train\.extra\.mosaic=\."),
        (["+mosaic=0"], r"mosaic is an unknown key\. .* mosaic is \+train\.extra\.mosaic=\."),
        (["train.degrees=5"], r"degrees is \+train\.extra\.degrees=\."),
        (["--batch=4"], "--batch=4: keys are typed without dashes, batch=VALUE"),
        (["--model", "yolo11n"], "--model: keys are typed without dashes, model=VALUE, "),
        (["epochs=10"], "epochs is an unknown key. Did you mean train.epochs?"),
        (["imgsz=640"], "imgsz is an unknown key. Did you mean train.imgsz?"),
        (["data.digits.imgsz=64"], r"data\.digits\.imgsz is .* Did you mean data\.imgsz\?"),
        (["data.lr0=0.1"], r"data\.lr0 is an unknown key\. Did you mean train\.lr0\?"),
        (["memory.batch=4"], r"memory\.batch is an unknown key\. Did you mean batch\?"),
        (["study.top=2"], r"study\.top is an unknown key\. Did you mean study\.confirm\.top\?"),
        (["data.mosaic=0"], r"data\.mosaic is .* mosaic is \+train\.extra\.mosaic=\."),
        (["batch=4 8"], "batch=4 8 is no whole number. .* with commas: batch=4,8"),
        (["device=0"], "device is no key here: .*CUDA_VISIBLE_DEVICES=0"),
        (
            ["batch=[2,4]"],
            r"batch=\[2,4\] is a list. .*without brackets: python -m sweeper -m batch=2,4",
        ),
        (
            ["model=[yolo11n,yolo11s]"],
            r"is a list. .*: python -m sweeper -m model=yolo11n,yolo11s",
        ),
        (["model=yolo11n.pt"], "Did you mean model=yolo11n model.pretrained=true?"),
        (["model=yolov8n"], "Did you mean model=yolo11n? .*model=custom model.file=yolov8n.yaml"),
        (["data=my/data.yaml"], "data=my/data.yaml is not .* data=custom data.yaml=my/data.yaml"),
    ],
)
def test_a_slip_is_answered_with_what_to_type(typed: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says.replace("?", r"\?")):
        compose_settings(typed)


@pytest.mark.parametrize(
    ("overrides", "title"),
    [([], "yolo11n"), (["model=custom", "model.file=w/raccoon best.pt"], "raccoon best")],
)
def test_a_model_of_ones_own_goes_by_its_file(overrides: list[str], title: str) -> None:
    assert compose_settings(overrides).model.title == title
