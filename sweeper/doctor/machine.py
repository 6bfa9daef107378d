"""What else a study stands on: host memory, versions, Ultralytics' settings."""

from __future__ import annotations

import json
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from sweeper.config.settings import Settings
from sweeper.doctor.finding import Finding, failure, ok, warning
from sweeper.errors import SettingsError
from sweeper.numbers import GIB, count
from sweeper.training.data_yaml import is_shipped
from sweeper.training.weights import require_weights

# Peak resident memory of a trial with two loader workers lies between 1 and 1.6 GiB.
HOST_GIB_PER_TRIAL = 2.0
# Integrations that log each trial once more when their package is there; mlflow is switched off.
INTEGRATIONS = {
    "clearml": "clearml",
    "comet": "comet_ml",
    "dvc": "dvclive",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
}


def check_host_memory(trials_at_once: int) -> Finding:
    """Compare free host memory with what the trials of all slots take."""
    free = available_gib()
    need = trials_at_once * HOST_GIB_PER_TRIAL
    trials = count(trials_at_once, "trial takes", "trials at once take")
    text = f"{free:.1f} GiB free; {trials} about {need:.0f} GiB"
    if free < need:
        remedy = "End other programs, or lower executor.slots or train.workers."
        return warning("host memory", f"{text}.", remedy)
    return ok("host memory", text)


def available_gib() -> float:
    """Memory that the kernel, or the container's limit, would still give, GiB."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    free = int(found.group(1)) * 1024 if found else 0
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())  # "max" means none
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return free / GIB


def check_versions() -> Finding:
    """Compare the installed versions with the tested range, which the package states."""
    try:
        ours = distribution("sweeper")
    except PackageNotFoundError:
        return warning("versions", "sweeper is not installed.", "Install it: pip install -e .")
    wrong = [w for w in map(_outside, ours.requires or []) if w]
    python = ours.metadata["Requires-Python"] or ""
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        wrong.append(f"Python {platform.python_version()} (tested: {python})")
    if wrong:
        text = f"outside the tested range: {'; '.join(wrong)}."
        return warning("versions", text, "Install again: pip install .")
    return ok("versions", "all within the tested range")


def _outside(text: str) -> str:
    """What is wrong with one requirement; empty when nothing is, or it is only an extra."""
    wanted = Requirement(text)
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return ""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is missing"
    if wanted.specifier.contains(found, prereleases=True):
        return ""
    return f"{wanted.name} {found} (tested: {wanted.specifier})"


def check_weights(settings: Settings) -> list[Finding]:
    """Have the weights that the training starts from at hand; nothing where it starts anew."""
    if Path(settings.model.source).suffix != ".pt":
        return []
    try:
        require_weights(settings.model)
    except SettingsError as error:
        return [failure("weights", str(error), "")]
    return [ok("weights", f"{settings.model.source} is at hand")]


def check_ultralytics(settings: Settings) -> Finding:
    """Read the user's settings file, as `yolo settings` writes it, without Ultralytics."""
    path = settings_file()
    try:
        found = json.loads(path.read_text())
        assert isinstance(found, dict)
    except FileNotFoundError:
        return ok("ultralytics", "no settings of the user: its defaults hold")
    except (OSError, ValueError, AssertionError):
        text = f"{path} is not readable JSON; Ultralytics will reset it."
        return warning("ultralytics", text, "Remove the file.")
    doubled = [k for k, module in INTEGRATIONS.items() if found.get(k) and find_spec(module)]
    if doubled:
        off = " ".join(f"{k}=False" for k in doubled)
        text = f"{', '.join(doubled)} will log each trial a second time."
        return warning("ultralytics", text, f"Switch off: yolo settings {off}.")
    folder = found.get("datasets_dir", "")
    if _needs_datasets(settings) and not Path(folder).is_dir():
        text = f"datasets_dir={folder} does not exist yet; {settings.data.yaml} is put there."
        return warning("ultralytics", text, "Or choose: yolo settings datasets_dir=PATH.")
    mlflow = "its mlflow=True is switched off in each trial" if found.get("mlflow") else ""
    return ok("ultralytics", f"settings do not interfere{'; ' if mlflow else ''}{mlflow}")


def settings_file() -> Path:
    """Where Ultralytics keeps the user's settings on Linux (its get_user_config_dir)."""
    chosen = os.environ.get("YOLO_CONFIG_DIR")
    home = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    return (Path(chosen).expanduser() if chosen else home) / "Ultralytics" / "settings.json"


def _needs_datasets(settings: Settings) -> bool:
    file = settings.data.yaml
    return bool(file) and not Path(str(file)).is_file() and is_shipped(str(file))
