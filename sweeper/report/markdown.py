"""Tables as GitHub markdown that also lines up in a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeper.numbers import count

MAX_ROWS = 50
MAX_TEXT = 160
ALL_ROWS = "report/trials.csv"  # beside report.md
# What starts or ends a mark; an underscore within a word does not, nor an ampersand by itself.
MARKS = re.compile(r"[\\`*\[\]|<~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
SHOWN = re.compile(r"(?P<fence>`+)(?P<code>.+?)(?P=fence)|\\(?P<mark>[\\`*\[\]|<~_&])|\*")


class Markdown(str):
    """Text of our own: its marks are meant, also in a cell of a table."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; the first column and those named are set flush left."""

    header: list[str]
    rows: list[list[str]]
    left: tuple[str, ...] = ()


def render_table(table: Table) -> str:
    """The table, cut after `MAX_ROWS` with a sentence that says so."""
    shown = [[_cell(c) for c in row] for row in table.rows[:MAX_ROWS]]
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


def literal(text: str) -> str:
    """Text that is not ours as one line which shows as it is, whatever marks are in it."""
    return MARKS.sub(r"\\\g<0>", " ".join(text.split()))


def bold(text: str) -> Markdown:
    """The text in bold, for a cell of a table."""
    return Markdown(f"**{literal(text)}**")


def code(text: str, language: str = "sh") -> str:
    """A command or a script to copy."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def verbatim(text: str) -> str:
    """A command or a path within a sentence."""
    line, fence = " ".join(text.split()), _fence(text, 1)
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def plain(markdown: str) -> str:
    """What sentences in markdown read like without their marks."""
    return SHOWN.sub(lambda m: (m["code"] or m["mark"] or "").strip(), markdown)


def _fence(text: str, least: int) -> str:
    """More backticks than stand in a row within the text."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def _cell(text: str) -> str:
    """One line of bounded length; our own marks stay, those of others show."""
    if isinstance(text, Markdown):
        return text
    line = " ".join(text.split())
    if len(line) > MAX_TEXT:
        line = line[: MAX_TEXT - 1].rstrip() + "…"
    return literal(line)


def _line(row: list[str], widths: list[int], lefts: list[bool]) -> str:
    cells = [
        c.ljust(w) if left else c.rjust(w) for c, w, left in zip(row, widths, lefts, strict=True)
    ]
    return f"| {' | '.join(cells)} |"
