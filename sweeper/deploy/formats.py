"""The export formats: what each needs, and how to make it where this machine cannot."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of export.

    Attributes:
        name: As in ``deploy.formats``.
        argument: Ultralytics' ``format``.
        precision: ``fp32`` or ``fp16``, as stored.
        modules: Python modules that export and inference import.
        gpu: Whether it needs an NVIDIA GPU.
        dynamic: Whether its batch and image size can be free axes.
        computed: The precision that OpenVINO is told to compute in; empty leaves it the choice.
    """

    name: str
    argument: str
    precision: str
    modules: tuple[str, ...] = ()
    gpu: bool = False
    dynamic: bool = True
    computed: str = ""


PT = Format("pt", "-", "fp32")
ONNX = ("onnx", "onnxruntime", "onnxslim")
OPENVINO = ("openvino",)
FORMATS = {
    f.name: f
    for f in (
        Format("torchscript", "torchscript", "fp32"),
        Format("onnx", "onnx", "fp32", ONNX),
        Format("onnx_fp16", "onnx", "fp16", ONNX),
        Format("openvino", "openvino", "fp32", OPENVINO),
        Format("openvino_fp32", "openvino", "fp32", OPENVINO, computed="fp32"),
        Format("openvino_fp16", "openvino", "fp16", OPENVINO),
        Format("ncnn", "ncnn", "fp32", ("ncnn", "pnnx"), dynamic=False),
        Format("litert", "litert", "fp32", ("litert_torch", "ai_edge_litert"), dynamic=False),
        Format("tensorrt", "engine", "fp16", ("onnx", "onnxslim", "tensorrt"), gpu=True),
    )
}

# What pip calls a module, where it has another name for it or Ultralytics wants one version.
PACKAGES = {
    "pnnx": "pnnx==20260526",
    "litert_torch": "litert-torch",
    "ai_edge_litert": "ai-edge-litert",
}


def obstacle(wanted: Format, has_gpu: bool) -> str:
    """Why this machine cannot make the format, with the remedy; empty when it can."""
    if wanted.gpu and not has_gpu:
        return "needs an NVIDIA GPU, which is not here"
    missing = [m for m in wanted.modules if find_spec(m) is None]
    if missing:
        packages = " ".join(PACKAGES.get(m, m) for m in missing)
        return f"{', '.join(missing)} not installed: pip install {packages}"
    return ""


def elsewhere(imgsz: int, batch: int, dynamic: bool, onnx: bool) -> list[str]:
    """The commands that make the TensorRT engine on a machine with an NVIDIA GPU."""
    free = f" dynamic=True batch={batch}" if dynamic else ""
    lines = [f"yolo export model=model.pt format=engine quantize=16 imgsz={imgsz}{free} device=0"]
    if onnx:
        shapes = ""
        if dynamic:
            sizes = {"min": 1, "opt": batch, "max": batch}
            shapes = "".join(
                f" --{k}Shapes=images:{n}x3x{imgsz}x{imgsz}" for k, n in sizes.items()
            )
        lines.append(f"trtexec --onnx=onnx/model.onnx --fp16 --saveEngine=model.engine{shapes}")
    return lines
