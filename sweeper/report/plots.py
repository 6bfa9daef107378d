"""The plots of the report; each is a function that returns a matplotlib Figure."""

from __future__ import annotations

from sweeper.report.cell_map import cell_map as cell_map
from sweeper.report.curves_chart import learning_curves as learning_curves
from sweeper.report.memory_chart import memory_by_batch as memory_by_batch
from sweeper.report.memory_chart import peak_parts as peak_parts
from sweeper.report.time_chart import map50_by_time as map50_by_time
