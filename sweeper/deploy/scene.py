"""What all measurements of a deployment share, and what every number depends on."""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.config.settings import DeploySettings, Settings
from sweeper.deploy.formats import Format
from sweeper.deploy.process import Child
from sweeper.deploy.source import Source
from sweeper.executors.devices import find_devices
from sweeper.training.data_yaml import split_images

IMAGES = 16  # compared with the .pt output by output


@dataclass(frozen=True, slots=True)
class Scene:
    """What all measurements share.

    Attributes:
        deploy: The settings.
        folder: Where logs and outputs go.
        device: ``cpu`` or a GPU's UUID.
        machine: Name of the GPU or the CPU.
        threads: CPU cores of each process.
        imgsz: Image side, pixels.
        data_yaml: The dataset, for mAP.
        images: Files of the validation set.
    """

    deploy: DeploySettings
    folder: Path
    device: str
    machine: str
    threads: int
    imgsz: int
    data_yaml: str
    images: tuple[str, ...]

    @property
    def batches(self) -> tuple[int, int]:
        """The two batch sizes."""
        return 1, self.deploy.batch

    def job(self, name: str, **values: Any) -> dict[str, Any]:
        """A child's job."""
        (self.folder / "logs").mkdir(exist_ok=True)
        shared = {"device": self.device, "threads": self.threads, "imgsz": self.imgsz}
        return {**shared, "log": str(self.folder / "logs" / f"{name}.txt"), **values}

    def bench(self, wanted: Format, file: Path) -> Child:
        """A bench for one model file."""
        needed = max(IMAGES, self.deploy.batch)
        images = (self.images * math.ceil(needed / len(self.images)))[:needed]
        job = self.job(
            wanted.name,
            file=str(file),
            precision=wanted.precision,
            computed=wanted.computed,
            images=images,
        )
        return Child("sweeper.deploy.bench", job, self.deploy.timeout_s)


def open_scene(settings: Settings, source: Source, draft: Path) -> Scene:
    """The scene on this machine, for a deployment that is written to ``draft``."""
    devices = find_devices(1)
    images = split_images(source.data_yaml, "val")
    cores = len(os.sched_getaffinity(0))
    return Scene(
        deploy=settings.deploy,
        folder=draft.resolve(),
        device=devices.names[0],
        machine=devices.gpu.name if devices.gpu else _cpu_name(),
        threads=min(settings.deploy.threads or cores, cores),
        imgsz=source.imgsz,
        data_yaml=str(source.data_yaml.resolve()),
        images=tuple(str(p) for p in images),
    )


def conditions(scene: Scene, versions: dict[str, str]) -> dict[str, Any]:
    """What every number depends on."""
    return {
        "device": scene.machine,
        "gpu": scene.device != "cpu",
        "threads": scene.threads,
        "imgsz": scene.imgsz,
        "batch": scene.deploy.batch,
        "max_map_drop": scene.deploy.max_map_drop,
        "dynamic": scene.deploy.dynamic,
        "runs": scene.deploy.runs,
        "warmup": scene.deploy.warmup,
        "images": len(scene.images),
        "versions": versions,
    }


def _cpu_name() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()
