"""A Python script in a process of its own, for what this process must not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


class ScriptError(Exception):
    """The script failed; the message is the last line that it printed."""


def run_script(script: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Any:
    """What the script prints as JSON in its last line.

    Args:
        script: Its source.
        arguments: Its ``sys.argv[1:]``.
        environ: Variables besides those of this process.

    Raises:
        ScriptError: It ended with an error.
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | dict(environ or {}),
    )
    if done.returncode:
        printed = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ScriptError(printed[-1] if printed else "no message")
    return json.loads(done.stdout.strip().splitlines()[-1])
