"""The time left follows from the formats that are done."""

from sweeper.deploy.progress import Progress


def test_the_time_left_is_that_of_the_mean_format() -> None:
    now, said = [0.0], list[str]()
    progress = Progress(3, said.append, lambda: now[0])
    progress.step("onnx: exported")
    now[0] = 30.0
    progress.done("onnx: measured")
    now[0] = 40.0
    progress.step("openvino: exported")
    now[0] = 200.0
    progress.step("openvino: still")
    progress.done("openvino: measured")
    progress.done("ncnn: measured")
    assert said == [
        "onnx: exported (0 of 3 done)",
        "onnx: measured (1 of 3 done, about 1 min 00 s left)",
        "openvino: exported (1 of 3 done, about 50 s left)",
        "openvino: still (1 of 3 done, about 1.0 s left)",
        "openvino: measured (2 of 3 done, about 1 min 40 s left)",
        "ncnn: measured (3 of 3 done)",
    ]
