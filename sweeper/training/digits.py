"""The embedded dataset: scenes composed from scikit-learn's handwritten digits."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from sweeper.trial.json_text import from_json

DIGITS = 10  # classes

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DigitScenes:
    """How the scenes are composed; every field is part of the dataset's identity.

    Attributes:
        imgsz: Side of the square scenes, pixels.
        train: Number of training scenes.
        val: Number of validation scenes.
        min_digits: Fewest digits in a scene.
        max_digits: Most digits in a scene.
        seed: Seed of the composition.
    """

    imgsz: int = 160
    train: int = 256
    val: int = 64
    min_digits: int = 2
    max_digits: int = 6
    seed: int = 0
    version: int = 1


def write_digits(root: Path, scenes: DigitScenes) -> Path:
    """Write the dataset once and return the path of its ``data.yaml``.

    The 1,797 source digits are split 80/20 before composing: no source digit of a training
    scene appears in a validation scene. Source: scikit-learn ``load_digits`` (UCI ML
    hand-written digits, 8x8, 17 grey levels).

    Args:
        root: Folder that holds the dataset folders, e.g. ``runs/data``.
        scenes: Size and composition.
    """
    folder = root / f"digits-{scenes.imgsz}px-{scenes.train}+{scenes.val}-seed{scenes.seed}"
    recipe = json.dumps(asdict(scenes), sort_keys=True)
    marker = folder / "recipe.json"
    if marker.exists() and marker.read_text() == recipe:
        return folder / "data.yaml"
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=root, prefix=".digits-"))
    draft.chmod(0o755)
    _compose(draft, folder, scenes)
    (draft / "recipe.json").write_text(recipe)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(draft, folder)
    except OSError:  # another process finished the same dataset first
        shutil.rmtree(draft)
    return folder / "data.yaml"


def recipe_of(data_yaml: Path) -> DigitScenes | None:
    """How the scenes of a ``data.yaml`` were composed; None where it is not of `write_digits`."""
    recipe = data_yaml.parent / "recipe.json"
    if not recipe.exists():
        return None
    return from_json(DigitScenes, recipe.read_text(), str(recipe))


def _compose(draft: Path, final: Path, scenes: DigitScenes) -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    pixels = (source.images * (255 / 16)).astype(np.uint8)
    rng = np.random.default_rng(scenes.seed)
    order = rng.permutation(len(pixels))
    border = int(0.8 * len(order))
    for split, count, pool in (
        ("train", scenes.train, order[:border]),
        ("val", scenes.val, order[border:]),
    ):
        (draft / "images" / split).mkdir(parents=True)
        (draft / "labels" / split).mkdir(parents=True)
        for i in range(count):
            image, rows = _scene(rng, pixels, source.target, pool, scenes)
            Image.fromarray(image).save(draft / "images" / split / f"{i:04d}.png")
            (draft / "labels" / split / f"{i:04d}.txt").write_text("\n".join(rows) + "\n")
    content = {
        "path": str(final.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": {i: str(i) for i in range(DIGITS)},
    }
    (draft / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _scene(
    rng: np.random.Generator,
    pixels: Pixels,
    targets: NDArray[np.int64],
    pool: NDArray[np.int64],
    scenes: DigitScenes,
) -> tuple[Pixels, list[str]]:
    """One scene: an (imgsz, imgsz, 3) image and its YOLO label rows."""
    size = scenes.imgsz
    canvas = rng.normal(rng.uniform(20, 70), 6, (size, size, 3))
    taken = np.zeros((size, size), bool)
    rows: list[str] = []
    for index in rng.choice(pool, rng.integers(scenes.min_digits, scenes.max_digits + 1), False):
        side = int(rng.uniform(0.2, 0.4) * size)
        x, y = rng.integers(0, size - side, 2)
        if taken[y : y + side, x : x + side].any():
            continue
        taken[y : y + side, x : x + side] = True
        glyph = Image.fromarray(pixels[index]).resize((side, side), Image.Resampling.BICUBIC)
        ink = np.asarray(glyph, float)[..., None] / 255
        colour = rng.uniform(140, 255, 3)
        patch = canvas[y : y + side, x : x + side]
        canvas[y : y + side, x : x + side] = patch * (1 - ink) + colour * ink
        left, top, right, bottom = _ink_box(ink[..., 0])
        centre = ((x + (left + right) / 2) / size, (y + (top + bottom) / 2) / size)
        extent = ((right - left) / size, (bottom - top) / size)
        rows.append(f"{targets[index]} " + " ".join(f"{v:.6f}" for v in (*centre, *extent)))
    return canvas.clip(0, 255).astype(np.uint8), rows


def _ink_box(ink: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Tight box around what is clearly ink: left, top, right, bottom in pixels."""
    inked = ink > 0.25
    columns, rows = (np.flatnonzero(inked.any(axis)) for axis in (0, 1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
