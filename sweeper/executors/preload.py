"""Imported once by the fork server, so that a trial starts without paying for imports."""

from __future__ import annotations

import gc
import os

from sweeper.fork_server import become_server

become_server()

# Ultralytics greets on stdout when it is imported; the terminal belongs to the study.
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

# What every training imports late: a deterministic one inductor (1.5 s), the check of fonts
# pyplot and requests, non-maximum suppression torchvision.
import matplotlib.pyplot  # noqa: E402, F401
import requests  # noqa: E402, F401
import torch._inductor.config  # noqa: E402, F401
import torchvision  # noqa: E402, F401

import sweeper.executors.supervise  # noqa: E402
import sweeper.training.run  # noqa: E402, F401
from sweeper.trial.json_text import adapter  # noqa: E402
from sweeper.trial.spec import TrialSpec  # noqa: E402

adapter(TrialSpec)

gc.collect()
gc.freeze()  # each trial collects three times; it need not walk through all of this
