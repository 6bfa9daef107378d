"""``python -m sweeper.deploy [study.name=NAME | deploy.weights=PATH]``: export the winner.

Without a name it takes the latest study. What one may set, with the default in brackets:

  'deploy.formats=[onnx,openvino]'  of torchscript, onnx, onnx_fp16, openvino, openvino_fp32,
                                    openvino_fp16, ncnn, litert, tensorrt (all)
  deploy.imgsz=320                  another image size (the training's)
  deploy.batch=16                   the batch size that is measured beside 1 (8)
  deploy.threads=1                  cores of each process (all)
  deploy.epochs=10                  of training once more a winner whose weights were not kept
                                    (the trial's)
  deploy.min_map=0                  deploy also what detects nothing (0.01)
  deploy.max_map_drop=0.02          mAP@0.5 that an export may lose (0.01)
"""

from __future__ import annotations

from sweeper.tools import run_tool


def main(overrides: list[str]) -> int:
    """Deploy, print the document, and return 1 when an export failed."""
    from sweeper.config.compose import compose_settings
    from sweeper.deploy.arguments import refuse_unread
    from sweeper.deploy.rows import Status
    from sweeper.deploy.run import deploy
    from sweeper.executors.emulated import emulate

    settings = compose_settings(overrides)
    refuse_unread(overrides, settings)
    emulate(settings.vram, settings.executor)
    deployment, folder = deploy(settings, print)
    print((folder / "deploy.md").read_text())
    print(f"written to {folder}")
    return 1 if any(r.status is Status.FAILED for r in deployment.rows) else 0


if __name__ == "__main__":
    run_tool(main, __doc__)
