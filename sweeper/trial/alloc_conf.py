"""How torch's CUDA allocator is configured: by the environment and by ``memory.allocator``."""

from __future__ import annotations

import re
from collections.abc import Mapping

VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # torch prefers the first
EXPANDABLE = "expandable_segments:True"


def alloc_conf(allocator: str, environ: Mapping[str, str]) -> str:
    """What torch is told; ``default`` leaves it to the environment. Empty: nothing."""
    given = next((environ[name] for name in VARIABLES if environ.get(name)), "")
    if allocator == "default" or is_expandable(given):
        return given
    others = re.sub(r"expandable_segments\s*:\s*\w+\s*,?", "", given).strip(", ")
    return ",".join(filter(None, (others, EXPANDABLE)))


def is_expandable(conf: str) -> bool:
    """Whether segments grow under a configuration."""
    found = re.findall(r"expandable_segments\s*:\s*(\w+)", conf)
    return bool(found) and found[-1] == "True"
