"""From the group ``executor`` to the executor."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import ExecutorSettings
from sweeper.errors import SettingsError
from sweeper.executors import Executor
from sweeper.executors.debug import DebugExecutor
from sweeper.executors.devices import find_devices
from sweeper.executors.jobs import JobExecutor, Scheduler
from sweeper.executors.local import LocalExecutor
from sweeper.trial.spec import SINGLE
from sweeper.trial.study_folder import StudyFolder


def open_executor(settings: ExecutorSettings, study: Path) -> Executor:
    """The executor of the settings, for the study in a folder.

    Raises:
        SettingsError: It cannot run here.
    """
    if settings.name == "debug":
        if find_devices("auto").gpu is not None:
            raise SettingsError(
                "executor=debug trains on the CPU and measures nothing. Hide the GPU: "
                "CUDA_VISIBLE_DEVICES= python -m sweeper executor=debug …"
            )
        return DebugExecutor()
    if settings.name == "local":
        return LocalExecutor(find_devices(settings.slots).names)
    if settings.slots == "auto":
        raise SettingsError(
            f"executor.slots must be a number with executor={settings.name}: how many jobs may "
            "wait or run at a time. Set e.g. executor.slots=4."
        )
    pinned = None if study.name == SINGLE else study / "machine.json"
    if pinned is not None and not StudyFolder(study).has_trials:  # what was asked for may differ
        pinned.unlink(missing_ok=True)
    return JobExecutor(_scheduler(settings, study), settings.slots, pinned)


def _scheduler(settings: ExecutorSettings, study: Path) -> Scheduler:
    try:
        if settings.name == "slurm":
            from sweeper.executors.slurm import SlurmScheduler

            return SlurmScheduler(settings.slurm, study / "slurm")
        from sweeper.executors.on_ray import RayScheduler

        return RayScheduler(settings.ray, study.name)
    except ImportError as error:
        raise SettingsError(
            f"executor={settings.name} needs a package that is not installed ({error.name}). "
            f"Run pip install 'sweeper[{settings.name}]'."
        ) from error
