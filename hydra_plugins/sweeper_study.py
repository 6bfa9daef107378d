"""The Sweeper plugin that Hydra finds here; it hands over to sweeper.study."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Runs a multirun as one Optuna study."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands out."""
        self.config_loader = hydra_context.config_loader
        self.master_config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study over the space that the command line and `params` span."""
        from sweeper.cli import study_main

        return study_main(self.config_loader, self.master_config, arguments, self.params)
