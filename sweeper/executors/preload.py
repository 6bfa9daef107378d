"""Imported once by the fork server, so that a trial starts without paying for imports."""

from __future__ import annotations

import signal

import sweeper.training.run  # noqa: F401

# A lost terminal is the parent's to handle; the fork server lives as long as it does.
signal.signal(signal.SIGHUP, signal.SIG_IGN)
