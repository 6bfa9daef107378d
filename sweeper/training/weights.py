"""Pretrained weights: at hand before the first trial, which would else load them for all."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.settings import ModelSettings
from sweeper.errors import SettingsError
from sweeper.script import ScriptError, run_script

FETCH = (
    "import json, sys\n"
    "from pathlib import Path\n"
    "from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset\n"
    "known = Path(sys.argv[1]).name in GITHUB_ASSETS_NAMES\n"
    "file = attempt_download_asset(sys.argv[1]) if known else sys.argv[1]\n"
    "print('\\n' + json.dumps(Path(file).is_file()))\n"
)


def require_weights(model: ModelSettings) -> None:
    """Let Ultralytics download weights of its own that are not here, in a process of its own.

    Raises:
        SettingsError: They are neither here nor to be had.
    """
    file = Path(model.source)
    if file.suffix != ".pt" or file.is_file():
        return
    try:
        found, why = run_script(FETCH, str(file)), "Ultralytics has none of this name"
    except ScriptError as error:
        found, why = False, f"it could not be downloaded ({str(error).rstrip('.')})"
    if not found:
        key = f"model.file={file}" if model.file else f"model.pretrained=true: {file}"
        raise SettingsError(
            f"{key} is not in {file.parent.absolute()}, and {why}. Put the file there, or say "
            f"where it is: model=custom model.file=PATH/{file.name}."
        )
