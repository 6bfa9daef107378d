"""Find the model definition that a name, a YAML or a weights file stands for, without torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

DETECTORS = {"Detect", "v10Detect"}
REMEDY = "Use a detection model, e.g. model=yolo11n, or the path of its .yaml."


@dataclass(frozen=True, slots=True)
class Architecture:
    """A detection model: its YAML with `scale`, or else the `weights` that hold one; a digest.

    `given` is what was asked for, and `name` its stem.
    """

    given: str = field(compare=False)
    name: str
    definition: dict[str, Any] | None
    weights: Path | None
    digest: str


def find_architecture(model: str) -> Architecture:
    """Resolve "yolo11n", "yolo11n.yaml", "yolo11n.pt", or the path of a YAML or of weights.

    Weights with the name of a model of Ultralytics, there or not, have that model's architecture.

    Raises:
        ValueError: No such model, or not a detection model.
    """
    path = Path(model)
    if path.suffix not in {"", ".yaml", ".yml", ".pt"}:
        raise ValueError(f"model={model} is not a model file. {REMEDY}")
    file = _file(path)
    if file is None:
        return _weights(model, path)
    definition = _read(model, file) | {"scale": _scale(path.stem)}
    text = json.dumps(definition, sort_keys=True, default=str).encode()
    return Architecture(model, path.stem, definition, None, hashlib.sha256(text).hexdigest())


def _weights(model: str, path: Path) -> Architecture:
    if path.suffix != ".pt" or not path.is_file():
        raise ValueError(f"model={model} is neither a file nor a model of Ultralytics. {REMEDY}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Architecture(model, path.stem, None, path, digest)


def _scale(stem: str) -> str:
    """The letter behind the number, as `guess_model_scale` of Ultralytics finds it."""
    found = re.search(r"yolo(?:e-)?v?\d+([nslmx])", stem)
    return found.group(1) if found else ""


def _file(path: Path) -> Path | None:
    """The YAML itself, or Ultralytics' own of that name, with or without the scale in it."""
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    name = path.stem.removesuffix("u")  # yolov5su: yolov5s with the head of YOLOv8
    family = re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", name)
    return _shipped(path.stem) or _shipped(name) or _shipped(family)


@cache
def _shipped(stem: str) -> Path | None:
    """Ultralytics' own YAML of that name."""
    return min(_library().rglob(f"{stem}.yaml"), default=None)


def _library() -> Path:
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"ultralytics is not installed. {REMEDY}")
    return Path(spec.submodule_search_locations[0]) / "cfg" / "models"


def _read(model: str, file: Path) -> dict[str, Any]:
    try:
        definition = _parse(file.read_text(encoding="utf-8"))
        check_detector(model, definition)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError) as error:
        raise ValueError(f"model={model} is not a model definition. {REMEDY}") from error
    return definition


@lru_cache(maxsize=16)  # PyYAML takes as long as the replay of a step
def _parse(text: str) -> dict[str, Any]:
    definition: dict[str, Any] = yaml.safe_load(text)
    return definition


def check_detector(model: str, definition: dict[str, Any]) -> None:
    """Refuse other tasks: their losses hold other things.

    Raises:
        ValueError: The head detects no boxes.
        LookupError, TypeError: It is not a model definition at all.
    """
    head = definition["backbone"] and definition["head"][-1][2]
    if head not in DETECTORS:
        raise ValueError(f"model={model} is not a detection model: its head is {head}. {REMEDY}")
