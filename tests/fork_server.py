"""Runs scripts, each in a fork of a process that has imported the modules named by its arguments.

Importing torch and Ultralytics takes seconds, and a card's libraries are preloaded when a process
starts, so that one process does both and forks; it never touches CUDA itself. One JSON line asks
for a script, one answers with its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from contextlib import redirect_stdout
from typing import Any


def main(modules: list[str]) -> None:
    with redirect_stdout(sys.stderr):  # Ultralytics may speak; answers alone go to stdout
        for module in modules:
            importlib.import_module(module)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def run(request: dict[str, Any]) -> None:
    """Become the script; its process ends here."""
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None  # the script's own, which TMPDIR names
    os.chdir(request["folder"])
    for descriptor, name in enumerate((os.devnull, request["out"], request["err"])):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags, 0o600), descriptor)
    signal.alarm(request["timeout_s"])
    code = 0
    torch = sys.modules.get("torch")
    try:
        assert torch is None or not torch.cuda.is_initialized(), "a fork could not use CUDA"
        exec(compile(request["script"], "script", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's threads may not survive the end of Python


if __name__ == "__main__":
    main(sys.argv[1:])
