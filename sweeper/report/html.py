"""The report as one HTML file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from sweeper.report.markdown import plain

# Plots are drawn on white; in the dark they are turned over, and their hues turned back.
STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1b1b; --line: #ddd; --head: #888;
        --code: #f4f4f4; --box: #eef5fa; --edge: #0072b2; --link: #0060a8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --ink: #e4e4e4; --line: #363b40; --head: #7d858c;
          --code: #20252a; --box: #16293a; --edge: #56b4e9; --link: #7cc4f2; }
  img { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }
}
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: var(--ink);
       background: var(--page);
       font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
p, ul, pre { max-width: 60rem; box-sizing: border-box; }
a { color: var(--link); }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h1 + p, h1 + .table + p { border-left: 5px solid var(--edge); background: var(--box);
                          padding: .8rem 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top;
         text-align: left; background: var(--page); }
th { border-bottom: 2px solid var(--head); white-space: nowrap; }
th:first-child, td:first-child { position: sticky; left: 0; white-space: nowrap;
                                 padding-left: 0; }
h1 + .table th, h1 + .table td { background: var(--box); }
h1 + .table th { white-space: normal; vertical-align: bottom; }
h1 + .table th:first-child, h1 + .table td:first-child { padding-left: 1rem; }
td[style*="right"] { white-space: nowrap; }
tbody tr:hover td { background: var(--code); }
img { max-width: 100%; height: auto; }
pre { background: var(--code); padding: .7rem .9rem; white-space: pre-wrap;
      overflow-wrap: anywhere; }
code { font: .87em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; }
  table { font-size: .8rem; }
  th, td { padding: .3rem .4rem; }
  th:first-child, td:first-child { max-width: 7rem; white-space: normal; }
  td:last-child:not([style]) { min-width: 16rem; }
  h1 + .table td:last-child { min-width: 0; }
  p:has(> img) { overflow-x: auto; }
  img { max-width: none; width: 44rem; }
  .table, p:has(> img) { padding-right: 1.5rem;
    mask-image: linear-gradient(to left, transparent, #000 1.5rem); }
}
"""


def to_html(markdown: str, folder: Path, images: Sequence[Path] = ()) -> str:
    """The document with its images inside.

    Args:
        markdown: The report; its images are paths relative to ``folder``.
        folder: Where report.md lies.
        images: The report's own; any other that it names stays out, as its name.
    """
    parser = _parser()
    tokens = parser.parse(markdown)
    own = {image.relative_to(folder).as_posix(): image for image in images}
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                _fill(child, own)
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="table"><table>')
    body = body.replace("</table>", "</table></div>")
    title = escape(plain(markdown.partition("\n")[0].removeprefix("# ")))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def to_fragment(markdown: str) -> str:
    """Text and tables without a document around them; what looks like HTML in it is escaped."""
    rendered: str = _parser().disable("image").render(markdown)
    return rendered


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _fill(link: Token, images: dict[str, Path]) -> None:
    """Put a known image in the place of its link, and the text of any other."""
    image = images.get(str(link.attrGet("src")))
    if image is None:
        link.type, link.tag, link.children = "text", "", None
    else:
        link.attrSet("src", _data_uri(image))


def _data_uri(image: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
