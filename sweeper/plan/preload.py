"""Imported once by the fork server of a plan, so that both of its children find torch there."""

from __future__ import annotations

import gc
import os

from sweeper.fork_server import become_server

become_server()
gc.disable()  # an import leaves nothing to collect, and looking for it takes a seventh of the time

# Ultralytics greets on stdout when it is imported; the terminal belongs to the plan.
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

import sweeper.memory.predict.trace  # noqa: E402
import sweeper.plan.predictions  # noqa: E402, F401

gc.freeze()  # replays leave cycles behind; collecting them need not walk through all of this
gc.enable()
