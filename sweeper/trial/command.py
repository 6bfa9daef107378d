"""Commands that a person copies: Ultralytics' own for a trial, the doctor's for its data set."""

from __future__ import annotations

import shlex
from typing import Any

from sweeper.trial.spec import TrialSpec


def command_arguments(spec: TrialSpec) -> dict[str, Any]:
    """The arguments of ``yolo detect train`` that make this cell.

    Ultralytics has no ``accumulate``: it is ``round(nbs / batch)``, ramped during warm-up.
    """
    return {
        "model": spec.model_file,
        "data": spec.data_yaml,
        "imgsz": spec.imgsz,
        "epochs": spec.epochs,
        "batch": spec.batch,
        "nbs": spec.effective_batch,
        "amp": spec.amp,
        "optimizer": spec.optimizer,
        "seed": spec.seed,
        **({"freeze": spec.freeze} if spec.freeze else {}),
        **spec.train_args,
    }


def yolo_command(spec: TrialSpec) -> str:
    """The plain Ultralytics command that trains this cell, with the allocator it needs."""
    allocator = [f"PYTORCH_ALLOC_CONF={shlex.quote(spec.alloc_conf)}"] if spec.alloc_conf else []
    arguments = [shlex.quote(f"{k}={v}") for k, v in command_arguments(spec).items()]
    return " ".join([*allocator, "yolo detect train", *arguments])


def tool_command(tool: str, *arguments: str) -> str:
    """A command of ours: ``sweeper``, or one of its tools."""
    return shlex.join(["python", "-m", tool, *arguments])


def doctor_command(yaml: str) -> str:
    """What reads and reports on a data set of one's own."""
    return tool_command("sweeper.doctor", "data=custom", f"data.yaml={yaml}")


def needs_python(spec: TrialSpec) -> bool:
    """Whether Ultralytics lacks an argument for something in the spec."""
    return spec.checkpoint != "none" or spec.val_batch is not None


def whole_training(spec: TrialSpec) -> str:
    """What trains this cell without a study: a command, or Python where Ultralytics lacks one."""
    return training_snippet(spec) if needs_python(spec) else yolo_command(spec)


def training_snippet(spec: TrialSpec) -> str:
    """The same training in Python, with what Ultralytics does not have."""
    arguments = command_arguments(spec)
    model = arguments.pop("model")
    lines = ",\n".join(f"    {k}={v!r}" for k, v in arguments.items())
    allocator = f"# with PYTORCH_ALLOC_CONF={spec.alloc_conf}\n" if spec.alloc_conf else ""
    imports, calls = ["from ultralytics import YOLO\n"], []
    if spec.checkpoint != "none":
        imports.append("from sweeper.memory.recompute import recompute")
        calls.append(f"    recompute(trainer.model, {spec.checkpoint!r})")
    if spec.val_batch is not None:
        imports.append("from sweeper.training.val_batches import split_batches")
        calls.append(f"    split_batches(trainer.test_loader, {spec.val_batch})")
    return allocator + "\n".join(
        [
            *imports,
            "\n\ndef prepare(trainer):",
            *calls,
            f"\n\nmodel = YOLO({model!r})",
            'model.add_callback("on_train_start", prepare)',
            f"model.train(\n{lines},\n)",
        ]
    )
