"""The report as one HTML file that needs no other."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b1b1b; background: #fff;
       font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h1 + p { border-left: 5px solid #0072b2; background: #eef5fa; padding: .8rem 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top;
         text-align: left; }
th { border-bottom: 2px solid #888; white-space: nowrap; } td:first-child { white-space: nowrap; }
tbody tr:hover { background: #f5f5f5; }
img { max-width: 100%; height: auto; }
pre { background: #f4f4f4; padding: .7rem .9rem; white-space: pre-wrap; word-break: break-word; }
code { font: .87em ui-monospace, "DejaVu Sans Mono", monospace; }
"""


def to_html(markdown: str, folder: Path) -> str:
    """The document with its images inside.

    Args:
        markdown: The report; its images are paths relative to ``folder``.
        folder: Where report.md lies.
    """
    parser = _parser()
    tokens = parser.parse(markdown)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                child.attrSet("src", _data_uri(folder / str(child.attrGet("src"))))
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="table"><table>')
    body = body.replace("</table>", "</table></div>")
    title = escape(markdown.partition("\n")[0].removeprefix("# "))
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


def _data_uri(image: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
