"""The command line: ``python -m sweeper`` runs one trial, with ``-m`` a study."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sweeper.config.compose import hydra_explained, load_settings, register_schema
from sweeper.config.conf_dir import CONF_DIR
from sweeper.config.slips import refuse_slips
from sweeper.errors import EXIT_INTERRUPTED, readable_errors
from sweeper.executors.emulated import emulate
from sweeper.executors.supervise import warm_up
from sweeper.study.space import resolve_space
from sweeper.tools import stop_when_told

register_schema()


def main() -> None:
    """What ``python -m sweeper`` does, once this is imported.

    Raises:
        SweeperError: A person must act, as the message says.
    """
    stop_when_told()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raised, for our own words
    refuse_slips(sys.argv[1:])
    with hydra_explained(sys.argv[1:]):
        _hydra_main()


@hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
def _hydra_main(config: DictConfig) -> None:
    with readable_errors():
        settings = load_settings(config)
        emulate(settings.vram, settings.executor)
        if settings.executor.is_here:
            warm_up()  # before the import below, which takes as long
        from sweeper.study.run import run_single

        ok = run_single(settings, tuple(HydraConfig.get().overrides.task))
    sys.exit(0 if ok else 1)


def study_main(
    loader: ConfigLoader, config: DictConfig, arguments: list[str], defaults: dict[str, str]
) -> None:
    """Run a study; called by the Sweeper plugin.

    Args:
        loader: Hydra's, to compose each cell.
        config: The master configuration.
        arguments: Task overrides as typed.
        defaults: The default space.
    """
    with readable_errors():
        with hydra_explained(sys.argv[1:]):
            space = resolve_space(loader, config, arguments, defaults)
        settings = space.cells[0].settings
        emulate(settings.vram, settings.executor)
        if settings.executor.is_here:
            warm_up()
        from sweeper.doctor.checks import require_health
        from sweeper.study.run import run_study

        for warning in require_health(space):
            print(warning)
        ended = run_study(space)
    sys.exit(0 if ended else EXIT_INTERRUPTED)
