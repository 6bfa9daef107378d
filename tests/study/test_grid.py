"""The grid of cells: a place for each, whatever they differ in."""

from __future__ import annotations

import io

from rich.console import Console

from sweeper.study.grid import Grid, Mark


def test_levers_have_rows_of_their_own(make_spec) -> None:
    specs = [
        make_spec(
            batch=batch, amp=amp, checkpoint=checkpoint, overrides=(f"{batch}{amp}{checkpoint}",)
        )
        for amp in (False, True)
        for checkpoint in ("none", "all")
        for batch in (4, 16)
    ]
    grid = Grid(specs)
    grid.set(next(s for s in specs if s.label == "b16×a1 amp checkpoint=all"), Mark(".71"))
    text = io.StringIO()
    Console(file=text, width=80).print(grid.table())
    rows = [line.split() for line in text.getvalue().splitlines()]
    assert rows == [
        ["a1", "a1", "amp"],
        ["b4", "·", "·"],
        ["b4", "checkpoint=all", "·", "·"],
        ["b16", "·", "·"],
        ["b16", "checkpoint=all", "·", ".71"],
    ]
