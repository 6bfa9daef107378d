"""What a deployment recommends, and where it says that a row ran."""

from dataclasses import replace
from statistics import median

import pytest

from sweeper.deploy.advice import NO_GROWTH, NO_SCRIPT, claims, loading, recommendations
from sweeper.deploy.bench import grown_mib
from sweeper.deploy.document import _where, speed_table
from sweeper.deploy.rows import Deployment, Row, Speed, metrics

SLOW = (Speed(1, 4.0, 4.5, 250.0), Speed(8, 18.0, 19.0, 444.0))
FAST = (Speed(1, 2.0, 2.5, 500.0, 2.0), Speed(8, 9.0, 9.5, 889.0, 2.0))
ON_GPU = {"device": "NVIDIA T4", "gpu": True}


def deployment(conditions: dict, *rows: Row, emulated: bool = False) -> Deployment:
    return Deployment("s", "trial 0", conditions, rows, (), emulated=emulated)


def advice(deployment: Deployment) -> dict[str, list[str]]:
    _, *targets = recommendations(deployment)
    return {target: rest for target, *rest in targets}


def test_what_ran_on_the_cpu_is_not_recommended_for_an_nvidia_server() -> None:
    pt = Row("pt", size_mib=5.2, device="cuda:0", speeds=SLOW)
    onnx = Row("onnx", size_mib=10.4, device="cpu", speeds=FAST)
    both = advice(deployment(ON_GPU, pt, onnx))
    assert both["NVIDIA server"][0] == "**pt**" and both["edge"][0] == "**onnx**"
    assert "2.0 ms on this machine" in both["edge"][1]
    assert advice(deployment(ON_GPU, onnx))["NVIDIA server"] == ["–", "no format ran on the GPU"]
    where = _where(deployment(ON_GPU, pt, onnx))
    assert where == "Measured on NVIDIA T4 (onnx: on the CPU)"
    assert _where(deployment(ON_GPU | {"gpu": False}, onnx)) == "Measured on NVIDIA T4"


def test_the_ratio_in_turns_decides_and_the_accuracy_is_named() -> None:
    there = {"device": "A Processor", "gpu": False}
    lucky = (Speed(1, 1.0, 1.5, 999.0, 0.9), Speed(8, 5.0, 5.5, 1600.0, 0.9))  # in a quiet minute
    pt = Row("pt", size_mib=5.2, map50=0.81, speeds=SLOW)
    script = Row("torchscript", size_mib=10.3, map50=0.81, speeds=lucky)
    openvino = Row("openvino", size_mib=10.2, map50=0.805, speeds=FAST, box_px=19.6)
    use, why = advice(deployment(there, pt, script, openvino))["CPU server"]
    assert use == "**openvino**"
    assert why == (
        "2.00 × the images per second of the .pt in turns with it at batch 8, the highest ratio "
        "(889 images/s); torchscript shows less time in the table, but so did the .pt in turns "
        "with it, mAP@0.5 0.8050 against 0.8100"
    )


def test_among_those_whose_turns_overlap_the_least_accuracy_lost_decides() -> None:
    def row(name: str, map50: float, *turns: float) -> Row:
        speeds = tuple(Speed(b, 2.0, 2.5, 500.0, median(turns), turns) for b in (1, 8))
        return Row(name, path=f"{name}/model.onnx", size_mib=5, map50=map50, speeds=speeds)

    there = {"device": "A Processor", "gpu": False, "imgsz": 320}
    pt = Row("pt", size_mib=5.2, map50=0.81, speeds=SLOW)
    onnx, slow = row("onnx", 0.8099, 3.1, 3.9, 4.3), row("torchscript", 0.81, 1.0, 1.1, 1.2)
    half = row("openvino_fp16", 0.805, 3.8, 4.3, 4.8)
    near = advice(deployment(there, pt, slow, onnx, half))
    use, why = near["CPU server"]
    assert use == "**onnx**"
    assert why.startswith("3.90 × the images per second of the .pt")
    assert "at batch 8, among the highest ratios (" in why
    assert why.endswith("; as fast within the noise of the turns: openvino_fp16 (4.30 ×)")
    assert near["edge"][0] == "**onnx**" and "openvino_fp16 (4.30 ×); smallest" in near["edge"][1]

    ahead = deployment(there, pt, slow, onnx, row("openvino_fp16", 0.805, 4.4, 4.5, 4.8))
    use, why = advice(ahead)["CPU server"]
    assert use == "**openvino_fp16**" and "noise" not in why and "the highest ratio (" in why
    assert loading(replace(ahead, folder="runs/mine/deploy")) == [
        'YOLO("runs/mine/deploy/openvino_fp16/model.onnx", task="detect").predict(source, '
        "imgsz=320)"
    ]


@pytest.mark.parametrize(
    ("ran", "used"), [("fp32", "**openvino**"), ("bf16", "**openvino_fp32**")]
)
def test_openvino_is_not_chosen_against_itself(ran: str, used: str) -> None:
    def row(name: str, ran: str, *turns: float) -> Row:
        speeds = tuple(Speed(b, 2.0, 2.5, 500.0, median(turns), turns) for b in (1, 8))
        return Row(name, ran=ran, path=f"{name}/model", size_mib=5, map50=0.8, speeds=speeds)

    there = {"device": "A Processor", "gpu": False, "imgsz": 320}
    pt = Row("pt", size_mib=5.2, map50=0.8, speeds=SLOW)
    plain, fp32 = row("openvino", ran, 2.0, 2.1, 2.2), row("openvino_fp32", "fp32", 2.4, 2.5, 2.6)
    assert advice(deployment(there, pt, plain, fp32))["CPU server"][0] == used


def test_where_no_export_is_faster_the_pt_is_used() -> None:
    slow = (Speed(1, 8.0, 9.0, 125.0, 0.5, (0.5,)), Speed(8, 36.0, 38.0, 222.0, 0.5, (0.5,)))
    there = {"device": "A Processor", "gpu": False, "imgsz": 320}
    pt = Row("pt", size_mib=5.2, map50=0.8, speeds=SLOW)
    said = advice(deployment(there, pt, Row("onnx", size_mib=9.9, map50=0.8, speeds=slow)))
    assert said["CPU server"] == ["**pt**", "no export is faster at batch 8 (444 images/s)"]
    assert said["edge"][1].endswith("; smallest export: onnx, 9.9 MiB")
    assert "smallest" not in advice(deployment(there, pt))["edge"][1]


def test_one_busy_turn_makes_no_slow_row_as_fast() -> None:
    def row(name: str, *turns: float) -> Row:
        speeds = tuple(Speed(b, 2.0, 2.5, 500.0, median(turns), turns) for b in (1, 8))
        return Row(name, path=f"{name}/model", size_mib=5, map50=0.8, speeds=speeds)

    there = {"device": "A Processor", "gpu": False, "imgsz": 320}
    pt = Row("pt", size_mib=5.2, map50=0.81, speeds=SLOW)
    fast = row("openvino", 2.5, 2.4, 0.98, 2.5, 2.6)
    slow = row("onnx", 0.7, 0.71, 0.72, 0.7, 2.7)
    use, why = advice(deployment(there, pt, slow, fast))["CPU server"]
    assert use == "**openvino**" and "noise" not in why


def test_what_ran_on_the_gpu_is_no_edge_device_either() -> None:
    pt = Row("pt", size_mib=5.2, device="cuda:0", speeds=SLOW)
    (_, why) = advice(deployment(ON_GPU, pt))["edge"]
    assert "4.0 ms on the GPU of this machine, an edge device was not measured" in why


def test_an_emulated_card_recommends_nothing_and_answers_for_memory_only() -> None:
    gpu = {"allocated": 0.02}
    rows = (
        Row("pt", device="cuda:0", rss_mib=9, load_s=1, gpu=gpu, speeds=FAST),
        Row("torchscript", device="cuda:0", rss_mib=9, load_s=1, load_ratio=2, gpu=gpu),
    )
    there = deployment({"device": "Emulated t4", "gpu": True}, *rows, emulated=True)
    targets = advice(there)
    assert len(targets) == 3
    assert {use for use, _ in targets.values()} == {"–"}
    assert all("the GPU was emulated" in why for _, why in targets.values())
    claimed = dict(claims(there))
    assert "the GPU was emulated" in claimed["TorchScript loads 3 × faster"]
    assert claimed["TorchScript takes 18 % less memory"].endswith("allocator, emulated)")
    assert _where(there).startswith("Run on Emulated t4: its memory is emulated")


def test_memory_that_did_not_grow_is_not_measured_and_no_ratio() -> None:
    claim = "TorchScript takes 18 % less memory"
    there = {"device": "A Processor", "gpu": False}
    pt = Row("pt", rss_mib=grown_mib(400_000, 400_060), speeds=SLOW)
    script = Row("torchscript", rss_mib=grown_mib(400_000, 461_440), speeds=SLOW)
    assert (pt.rss_mib, script.rss_mib) == (None, 60)
    assert dict(claims(deployment(there, pt, script)))[claim] == NO_GROWTH
    assert dict(claims(deployment(there, pt)))[claim] == NO_SCRIPT
    header, *rows = speed_table([pt, script], gpu=False)
    assert [row[header.index("peak RSS MiB")] for row in rows] == ["–", "60"]
    assert "rss" not in "".join(metrics(deployment(there, pt)))
    grown = Row("pt", rss_mib=48.0, speeds=SLOW)
    assert dict(claims(deployment(there, grown, script)))[claim].startswith("+25 % (60 against 48")
