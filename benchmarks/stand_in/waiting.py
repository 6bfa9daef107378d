"""For sweeper.training.run: a training that only waits. It knows its cells by their seconds."""

from __future__ import annotations

import json
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from sweeper.trial.folder import TrialFolder
from sweeper.trial.json_text import to_json
from sweeper.trial.readings import EpochReport
from sweeper.trial.record import ChildFacts, Ending


def child_main(folder: str, device: str, connection: Connection) -> None:
    """Wait as long as the seed of the trial says, ms, then report one epoch."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    files = TrialFolder(Path(folder))
    spec, begun = files.read_spec(), time.time()
    seconds = spec.seed / 1000
    time.sleep(seconds)
    epoch = EpochReport(1, time.time(), 0.5, 0.3, 1.0, 1.0, seconds, 0.01)
    connection.send_bytes(json.dumps({"epoch": json.loads(to_json(epoch))}).encode())
    facts = ChildFacts(
        Ending.COMPLETE,
        epochs=(epoch,),
        train_time_s=time.time() - begun,
        images_per_s=256 / seconds,
        iterations=1,
        optimizer_steps=1,
        amp_dtype="float32",
        memory=spec.predicted,
    )
    files.write_child(facts)
