"""The child that reads weights without running what they hold."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback

from sweeper.deploy.child import start


def fault(file: str) -> str:
    """What keeps a file from being YOLO weights; empty when nothing does.

    A pickle may call anything; this lets it name the parts of YOLO models alone, unless the
    user's environment says otherwise. It takes three times as long, so that what is measured
    later loads the file without.
    """
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
    from ultralytics.nn.tasks import load_checkpoint

    try:
        load_checkpoint(file)
    except Exception as error:  # whatever a stranger's pickle comes to
        traceback.print_exception(error)
        foreign = re.search(r"GLOBAL (\S+)", str(error.__cause__))
        if foreign:
            return f"reading it would run {foreign[1]}, which is no part of a YOLO model"
        return "it is damaged, or holds no YOLO model"
    return ""


def main(argument: str) -> None:
    """Answer with one line of JSON."""
    job, answers = start(argument)
    answers.write(json.dumps({"fault": fault(job["weights"])}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
