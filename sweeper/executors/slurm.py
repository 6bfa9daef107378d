"""Trials as Slurm jobs, submitted by submitit: executor=slurm."""

from __future__ import annotations
