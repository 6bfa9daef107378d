"""Tables as GitHub markdown that also lines up in a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.numbers import count

MAX_ROWS = 50
MAX_TEXT = 160
ALL_ROWS = "report/trials.csv"  # beside report.md


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; the first column and those named are set flush left."""

    header: list[str]
    rows: list[list[str]]
    left: tuple[str, ...] = ()


def render_table(table: Table) -> str:
    """The table, cut after `MAX_ROWS` with a sentence that says so."""
    shown = [[escape(c) for c in row] for row in table.rows[:MAX_ROWS]]
    lefts = [i == 0 or name in table.left for i, name in enumerate(table.header)]
    widths = [max(len(r[i]) for r in [table.header, *shown]) for i in range(len(lefts))]
    if lefts[-1]:
        widths[-1] = len(table.header[-1])  # a long text at the end of a row needs no padding
    lines = [_line(row, widths, lefts) for row in [table.header, *shown]]
    rule = [
        f"{'-' * (w + 1)}{'-' if left else ':'}" for w, left in zip(widths, lefts, strict=True)
    ]
    text = "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])
    if len(table.rows) > MAX_ROWS:
        total = count(len(table.rows), "row")
        text += f"\n\nThe first {MAX_ROWS} of {total}; every trial is in [{ALL_ROWS}]({ALL_ROWS})."
    return text


def escape(text: str) -> str:
    """One line of bounded length that ends no cell of a table and starts no HTML."""
    line = " ".join(text.split())
    if len(line) > MAX_TEXT:
        line = line[: MAX_TEXT - 1].rstrip() + "…"
    return line.replace("|", "\\|").replace("<", "\\<")


def code(text: str, language: str = "sh") -> str:
    """A command or a script to copy."""
    return f"```{language}\n{text}\n```"


def _line(row: list[str], widths: list[int], lefts: list[bool]) -> str:
    cells = [
        c.ljust(w) if left else c.rjust(w) for c, w, left in zip(row, widths, lefts, strict=True)
    ]
    return f"| {' | '.join(cells)} |"
