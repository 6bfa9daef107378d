"""A task for Hydra's joblib launcher: wait some milliseconds, and note when.

NOTES=folder python benchmarks/waiting_app.py -m +ms=500,700 hydra/launcher=joblib
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig


@hydra.main(config_path=None, config_name=None, version_base="1.3")
def main(config: DictConfig) -> None:
    """One task."""
    begun = time.time()
    time.sleep(config.ms / 1000)
    Path(os.environ["NOTES"], str(config.ms)).write_text(f"{begun} {time.time()}")


if __name__ == "__main__":
    main()
