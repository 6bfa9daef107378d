"""OpenCV, which Ultralytics imports: it needs libraries of the system that bare images lack."""

from __future__ import annotations

import re

from sweeper.doctor.finding import Finding, failure, ok
from sweeper.script import ScriptError, run_script

REMEDY = (
    "Install the system's libraries, e.g. apt-get install libgl1 libglib2.0-0; without root "
    "instead: pip uninstall -y opencv-python && pip install opencv-python-headless."
)


def check_opencv() -> Finding:
    """Import it in a child, as every trial does."""
    try:
        version = run_script("import cv2, json; print(json.dumps(cv2.__version__))")
    except ScriptError as error:
        found = missing_library(error)
        remedy = "Install again: pip install ."
        return found or failure("opencv", f"cannot be imported: {error}.", remedy)
    return ok("opencv", f"{version} imports")


def missing_library(error: ScriptError) -> Finding | None:
    """What to install where an import has failed for want of a library of the system."""
    found = re.search(r"(lib\S+): cannot open shared object file", str(error))
    if found is None:
        return None
    text = f"cannot be imported: this system has no {found[1]}, without which no trial starts."
    return failure("opencv", text, REMEDY)
