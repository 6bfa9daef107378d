"""Exports on an emulated card, whose memory is torch's own allocator's."""

from sweeper.deploy.document import speed_table
from sweeper.deploy.rows import Row, Speed

BENCH = """
import cv2, numpy
from sweeper.deploy import bench
from ultralytics import YOLO
bench.IMPORTS = ()
cv2.imwrite("image.png", numpy.random.default_rng(0).integers(0, 255, (64, 64, 3)))
YOLO("yolo11n.yaml").save("model.pt")
YOLO("model.pt").export(format="torchscript", imgsz=64, device="0")
seen = {}
for name in ("model.pt", "model.torchscript"):
    job = {"device": "GPU", "threads": 1, "imgsz": 64, "images": ["image.png"] * 2}
    model = bench.Bench(job | {"file": name, "precision": "fp32"})
    torch.cuda.reset_peak_memory_stats()
    loaded = model.load()
    ran = model.run(batch=2, runs=1, warmup=0)
    seen[name] = {**loaded, **ran, **model.memory()}
    model.predict(2, name + ".npy")
    del model
outputs = [numpy.load(name + ".npy") for name in seen]
answer(seen=seen, difference=float(abs(outputs[0] - outputs[1]).max()))
"""


def test_pt_and_torchscript_run_on_the_card_and_their_memory_is_told(card) -> None:
    found = card(gib=4).run(BENCH)
    assert found["difference"] < 1e-4
    rows = []
    for name, seen in found["seen"].items():
        assert (seen["device"], seen["ran"]) == ("cuda:0", "fp32")
        assert 0.01 < seen["allocated"] <= seen["reserved"] < 0.2, (
            "GiB: 10 MiB of weights, and more"
        )
        gpu = {key: seen[key] for key in ("allocated", "reserved")} | {"nvml": 0.33}
        rows.append(Row(name, device=seen["device"], gpu=gpu, speeds=(Speed(1, 1.0, 1.0, 1.0),)))
    header, *lines = speed_table(rows, gpu=True)
    assert header[-2:] == ["peak GPU GiB (allocator)", "(NVML)"]
    assert [line[-2:] for line in lines] == [[f"{r.gpu['reserved']:.2f}", "0.33"] for r in rows]
