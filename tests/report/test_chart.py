"""What every plot has in common: names that can be read."""

from __future__ import annotations

import random
from itertools import combinations

from sweeper.report.chart import Chart, name_points, new_axes
from sweeper.report.colours import BLACK


def test_names_of_any_length_cover_neither_each_other_nor_the_legend() -> None:
    numbers = random.Random(0)
    chart = Chart()
    axes = new_axes(chart, "title", "minutes", "mAP@0.5")
    points = [(numbers.uniform(10, 30), numbers.uniform(0.4, 0.45)) for _ in range(40)]
    axes.scatter(*zip(*points, strict=True))
    levers = ("", " amp", " amp checkpoint=backbone", " checkpoint=all allocator=expandable")
    name_points(axes, [(f"b16×a1{numbers.choice(levers)}", p, BLACK) for p in points])
    chart.png()  # lays it out
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 6
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert max(box.x1 for box in boxes) < axes.get_window_extent().x1 + 20
