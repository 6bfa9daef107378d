"""Imported once by the fork server, so that a trial starts without paying for imports."""

from __future__ import annotations

import os
import signal

# Ultralytics greets on stdout when it is imported; the terminal belongs to the study.
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

import sweeper.training.run  # noqa: E402, F401

# A lost terminal is the parent's to handle; the fork server lives as long as it does.
signal.signal(signal.SIGHUP, signal.SIG_IGN)
