"""What each runtime is told before it loads a model, and what precision it then computes in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def prepare(threads: int, computed: str) -> None:
    """Hold to ``threads`` the runtimes that ask neither the affinity nor OMP_NUM_THREADS.

    ``computed`` is the precision that OpenVINO is told to compute in; empty leaves it the choice.
    Ultralytics has an argument for none of it.
    """
    try:
        import ncnn
    except ImportError:
        pass
    else:
        ncnn.Net = _made_by(ncnn.Net, lambda net: setattr(net.opt, "num_threads", threads))
    import ultralytics.nn.backends.litert

    ultralytics.nn.backends.litert.NUM_THREADS = threads
    if computed == "fp32":
        import openvino

        hint = {"INFERENCE_PRECISION_HINT": openvino.Type.f32}
        openvino.Core = _made_by(openvino.Core, lambda core: core.set_property("CPU", hint))


def _made_by(make: Any, adjust: Any) -> Any:
    def made() -> Any:
        thing = make()
        adjust(thing)
        return thing

    return made


def precision(model: Any, file: str, stored: str, image: Any) -> str:
    """The precision that a loaded model computes in, as far as its runtime can be asked."""
    if model.format == "openvino":
        hint = model.backend.ov_compiled_model.get_property("INFERENCE_PRECISION_HINT")
        name = str(hint.to_string())
        return {"f32": "fp32", "f16": "fp16"}.get(name, name)
    if model.format == "onnx" and stored == "fp16":
        return _of_onnx(file, model.backend.session.get_providers())
    if model.format == "ncnn":
        return _of_ncnn(model.backend, Path(file), image)
    return stored


def _of_onnx(file: str, providers: list[str]) -> str:
    """Where ONNX Runtime has no convolution in fp16, as on x86, it casts the weights to fp32."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        onnxruntime.InferenceSession(file, options, providers=providers)
        graph = onnx.load(options.optimized_model_filepath).graph
    types = {t.name: t.data_type for t in graph.initializer}
    convolutions = [types.get(n.input[1]) for n in graph.node if "Conv" in n.op_type]
    return "fp32" if onnx.TensorProto.FLOAT in convolutions else "fp16"


def _of_ncnn(backend: Any, folder: Path, image: Any) -> str:
    """Ncnn takes fp16 where the CPU has it and does not say so; forbidding it then shows."""
    import ncnn

    plain, chosen = ncnn.Net(), backend.net
    for name in ("use_fp16_arithmetic", "use_fp16_storage", "use_fp16_packed"):
        setattr(plain.opt, name, False)
    plain.load_param(str(folder / "model.ncnn.param"))
    plain.load_model(str(folder / "model.ncnn.bin"))
    ours = backend.forward(image)
    backend.net = plain
    theirs = backend.forward(image)
    backend.net = chosen
    same = all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    return "fp32" if same else "fp16"
