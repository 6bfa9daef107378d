"""Where the files of the configuration are: importing this does not import Hydra."""

from __future__ import annotations

from pathlib import Path

CONF_DIR = Path(__file__).resolve().parents[1] / "conf"
if not CONF_DIR.is_dir():  # a checkout keeps it at the top level
    CONF_DIR = CONF_DIR.parents[1] / "conf"
