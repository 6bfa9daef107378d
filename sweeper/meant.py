"""What may have been meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(typed: str, known: Iterable[str], before: str = "") -> str:
    """A question to append, `` Did you mean study.name=demo?``; empty where none is like it.

    ``before``: what is typed in front of the word, as ``study.name=``.
    """
    near = difflib.get_close_matches(typed, known, n=1)
    return f" Did you mean {before}{near[0]}?" if near else ""
